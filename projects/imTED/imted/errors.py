"""The one exception that stands for a user's mistake."""


class UserError(Exception):
    """Say in one sentence what is wrong, in which file and field, and how to mend it.

    Command lines print the sentence and exit with status 1; they show no stack trace.
    """

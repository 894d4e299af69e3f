#!/usr/bin/env python
"""Train or evaluate any LazyConfig of this project: `train_net.py --help`."""

import signal
import sys

# While the libraries load, for seconds, Ctrl-C has nothing to save and no trace to show.
signal.signal(signal.SIGINT, signal.SIG_DFL)

from imted.training.launcher import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())

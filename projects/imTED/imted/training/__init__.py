"""Training and evaluation of whatever a config describes."""

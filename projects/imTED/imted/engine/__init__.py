"""From a config to a run: command line, training loop, evaluation."""

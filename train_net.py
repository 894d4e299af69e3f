#!/usr/bin/env python
"""Train or evaluate any LazyConfig of this project: `train_net.py --help`."""

import sys

from imted.engine.launcher import main

if __name__ == "__main__":
    sys.exit(main())

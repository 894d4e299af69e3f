"""Where things are in the repository."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TOYS = ROOT / "tests/training"
CONFIG = str(TOYS / "toy_config.py")
"""A config that trains in a second."""

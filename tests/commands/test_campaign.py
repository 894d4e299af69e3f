"""A sample of the campaign that tries to break runs; tools/maintain/campaign plays all of it."""

import re

import pytest


@pytest.mark.slow
def test_a_sample_of_the_campaign_breaks_nothing(shell):
    parts = ("data", "files", "outputs", "settings", "tools", "weights")
    done = shell("tools/maintain/campaign", *parts, "--number", 2, "--seed", 0)
    assert done.returncode == 0, done.stdout + done.stderr
    good, bad = re.search(r"(\d+) good, (\d+) BAD$", done.stdout).groups()
    assert int(good) >= 12 and bad == "0"

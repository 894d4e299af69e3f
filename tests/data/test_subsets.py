import random

from imted.data.subsets import seeded_order

ORDER = [3, 6, 1, 4, 2, 5]  # 0f3d…, 54d8…, 6a31…, 85e7…, 8847…, d441…


def test_the_order_is_that_of_sha256():
    """What `printf "7 $i" | sha256sum` prints for i from 1 to 6, sorted."""
    assert seeded_order(range(1, 7), 7) == ORDER
    shuffled = random.Random(0).sample(range(1, 7), 6)
    assert seeded_order(shuffled, 7) == ORDER
    assert seeded_order([2, 5], 7) == [i for i in ORDER if i in (2, 5)]
    assert seeded_order(range(1, 7), 7, 1) != ORDER

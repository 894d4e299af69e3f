import pickle
import re
from pathlib import Path

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from imted.errors import UserError
from prepare_occlusion import read_published_list

MASK = np.zeros((6, 8), dtype=np.uint8)
MASK[2:5, 3:7] = 1
RLE = coco_mask.encode(np.asfortranarray(MASK))


def item(**changes) -> list:
    fields = dict(
        file="000000000139.jpg", category="tv", id=34646, box=[3, 2, 4, 3], rle=RLE, ratio=0.25
    )
    return list({**fields, **changes}.values())


@pytest.fixture
def read(tmp_path):
    """Pickle something and read it as a list."""

    def read(content, protocol: int = 4):
        path = tmp_path / "list.pkl"
        path.write_bytes(pickle.dumps(content, protocol))
        return read_published_list(str(path))

    return read


class Attack:
    """Execute a call when unpickled."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", range(5))
def test_items_are_read_with_numpys_numbers_too(read, protocol):
    plain, unknown, numbers = read(
        [
            item(),
            tuple(item(ratio="NAN")),
            item(
                id=np.int64(7),
                ratio=np.float32(0.5),
                box=np.array([3.0, 2.0, 4.0, 3.0]),
                rle={"size": np.array([6, 8], dtype=">i2"), "counts": RLE["counts"]},
            ),
        ],
        protocol,
    )
    assert [plain.file_name, plain.category, plain.annotation_id] == item()[:3]
    assert (plain.occlusion_ratio, unknown.occlusion_ratio) == (0.25, None)
    assert (numbers.occlusion_ratio, numbers.annotation_id) == (0.5, 7)
    assert type(numbers.occlusion_ratio) is float
    assert isinstance(plain.segmentation["counts"], str)
    for read_item in (plain, unknown, numbers):
        assert (coco_mask.decode(read_item.segmentation) == MASK).all()


def test_an_item_may_end_before_its_ratio(read):
    (short,) = read([item()[:5]])
    assert short.occlusion_ratio is None and short.annotation_id == item()[2]


@pytest.mark.parametrize("core", [b"numpy.core", b"numpy._core"])
def test_numbers_of_either_numpy_are_read(tmp_path, core):
    content = pickle.dumps([item(id=np.int64(7))], 2)
    path = tmp_path / "list.pkl"
    path.write_bytes(re.sub(rb"numpy\._?core", core, content))
    assert read_published_list(str(path))[0].annotation_id == 7


@pytest.mark.parametrize("protocol", range(5))
@pytest.mark.parametrize(
    "place", [lambda bad: bad, lambda bad: [bad], lambda bad: [item(ratio=bad)]]
)
def test_a_pickle_that_executes_is_refused_and_not_executed(read, tmp_path, place, protocol):
    target = tmp_path / "executed"
    attacks = [
        Attack(Path.touch, target),
        Attack(exec, f"open({str(target)!r}, 'w')"),
        Attack(getattr, target, "touch"),
        Attack(np.save, str(target), 1),
    ]
    for attack in attacks:
        with pytest.raises(UserError, match=r"list\.pkl .*execute"):
            read(place(attack), protocol)
    assert not target.exists() and not target.with_suffix(".npy").exists()
    pickle.loads(pickle.dumps(attacks[1], protocol))  # the attack is a real one
    assert target.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "dict"),
        ([item()[:4]], "item 0 "),
        ([item(), item(rle={"size": [6, 8]})], "item 1 .*counts"),
        ([item(rle=MASK.tolist())], "item 0 .*RLE"),
        ([item(ratio="much")], "item 0 .*much"),
        ([item(category=3)], "item 0 .*class"),
        ([item(rle=coco_mask.encode(np.zeros((6, 8), np.uint8, order="F")))], "item 0 .*mask"),
        ([item(box=np.array([None, 1]))], "'O8'"),
    ],
)
def test_other_data_are_named(read, content, message):
    with pytest.raises(UserError, match=rf"list\.pkl.*{message}"):
        read(content)


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps([item()])[:-20]])
def test_a_damaged_file_is_refused(tmp_path, content):
    path = tmp_path / "list.pkl"
    with pytest.raises(UserError, match=r"list\.pkl.*download"):
        read_published_list(str(path))
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"list\.pkl.*pickle"):
        read_published_list(str(path))

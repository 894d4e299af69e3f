import inspect
import itertools
import multiprocessing
import os
import random
import signal

import numpy as np
import pytest
import torch
from detectron2.data.samplers import TrainingSampler

from imted.data.train_loader import build_train_loader
from imted.errors import UserError

# Every third image is a portrait.
IMAGES = [{"id": i, "width": 2, "height": 3 if i % 3 == 0 else 1} for i in range(10)]


def draw(sample):
    """Map to the image and a draw from each of the generators that augmentations use."""
    return {**sample, "random": (random.random(), np.random.rand(), torch.rand(1).item())}


def batches(count, dataset=IMAGES, mapper=draw, start=0, **options):
    options = {"total_batch_size": 2, "seed": 5, **options}
    loader = build_train_loader(dataset, mapper, **options)
    loader.batch_sampler.start = start
    return list(itertools.islice(loader, count))


def ids(batch_list):
    return [sample["id"] for batch in batch_list for sample in batch]


def at_rank(monkeypatch, rank, world_size):
    monkeypatch.setattr("detectron2.utils.comm.get_rank", lambda: rank)
    monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: world_size)


def test_sequence_depends_on_the_seed_alone():
    first = batches(20)
    torch.rand(3), random.random(), np.random.rand()
    assert batches(20) == first
    other = batches(20, seed=6)
    assert ids(other) != ids(first)
    assert {s["random"] for b in other for s in b}.isdisjoint(s["random"] for b in first for s in b)


@pytest.fixture(params=["fork", "forkserver"])
def start_method(request):
    """How Python starts processes: forkserver is the default from 3.14 on."""
    former = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(request.param, force=True)
    yield request.param
    multiprocessing.set_start_method(former, force=True)


def of_no_module(function):
    """Return a function as a config defines it: a new process can't import it."""
    names = {}
    exec(f"import random\nimport numpy as np\nimport torch\n{inspect.getsource(function)}", names)
    return names[function.__name__]


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_change_nothing(start_method, num_workers):
    assert batches(8, mapper=of_no_module(draw), num_workers=num_workers) == batches(8)


@pytest.mark.slow
def test_a_worker_ends_when_its_trainer_says_so(start_method):
    loader = build_train_loader(IMAGES, of_no_module(draw), 2, seed=0, num_workers=1)
    iterator = iter(loader)
    next(iterator)
    (worker,) = iterator._workers
    os.kill(worker.pid, signal.SIGINT)  # of a terminal, for the trainer
    next(iterator)
    worker.terminate()
    worker.join(20)
    assert worker.exitcode == 0


@pytest.mark.parametrize("grouping", [True, False])
def test_resumed_loader_continues_the_sequence(grouping):
    whole = batches(30, aspect_ratio_grouping=grouping)
    assert batches(13, start=17, aspect_ratio_grouping=grouping) == whole[17:]


def test_resuming_loads_no_skipped_image():
    loaded = []
    batches(1, mapper=lambda sample: loaded.append(sample) or sample, start=100)
    assert len(loaded) == 2


def test_images_come_in_the_order_of_the_training_sampler():
    expected = list(itertools.islice(TrainingSampler(10, seed=5), 40))
    assert ids(batches(20, aspect_ratio_grouping=False)) == expected


def test_images_of_rare_classes_come_more_often():
    # Image 0 alone shows class 1: a tenth of the images, of which half is wanted.
    dataset = [{"id": i, "annotations": [{"category_id": int(i == 0)}]} for i in range(10)]
    found = ids(batches(1000, dataset=dataset, repeat_threshold=0.5))
    times = [found.count(i) for i in range(10)]
    assert max(times[1:]) - min(times[1:]) <= 1
    assert times[0] / times[1] == pytest.approx((0.5 / 0.1) ** 0.5, rel=0.05)


def test_batches_hold_one_orientation_and_lose_no_image():
    got = batches(45)
    for batch in got:
        assert len({sample["width"] > sample["height"] for sample in batch}) == 1
    counts = np.bincount(ids(got), minlength=10)
    assert counts.min() >= 7 and counts.max() <= 10  # 9 epochs, less what waits for company


def test_an_image_is_augmented_anew_each_time():
    drawn = [s["random"] for b in batches(50) for s in b]
    assert len(set(drawn)) == len(drawn)


def test_images_without_size_are_not_grouped():
    plain = [{"id": i} for i in range(10)]
    assert ids(batches(10, plain)) == ids(batches(10, aspect_ratio_grouping=False))


def test_processes_share_the_sequence_of_one(monkeypatch):
    one = batches(10, aspect_ratio_grouping=False)
    shares = []
    for rank in (0, 1):
        at_rank(monkeypatch, rank, 2)
        shares.append(batches(10, aspect_ratio_grouping=False))
    together = [pair for x, y in zip(*shares, strict=True) for pair in zip(x, y, strict=True)]
    assert [sample for pair in together for sample in pair] == [s for b in one for s in b]


def test_rejected_image_is_replaced_by_the_next():
    got = batches(20, mapper=lambda s: draw(s) if s["id"] % 2 else None)
    assert ids(got) == [i | 1 for i in ids(batches(20))]


def test_the_process_keeps_its_generators():
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    expected = random.random(), np.random.rand(), torch.rand(1)
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    batches(5)
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected


def test_errors(monkeypatch):
    with pytest.raises(UserError, match="rejects every image"):
        batches(1, mapper=lambda sample: None)
    with pytest.raises(UserError, match="no images"):
        batches(1, dataset=[])
    at_rank(monkeypatch, 0, 2)
    with pytest.raises(UserError, match=r"total_batch_size is 3.*multiple.*\(2\)"):
        batches(1, total_batch_size=3)


def test_without_a_seed_the_processes_share_one(monkeypatch):
    """As Detectron2's samplers do; train_net.py gives the run's seed."""
    monkeypatch.setattr("imted.data.train_loader.comm.shared_random_seed", lambda: 7)
    drawn = []
    for seed in (None, 7):
        loader = build_train_loader([{"n": i} for i in range(9)], dict, 3, seed=seed)
        drawn.append([sample["n"] for sample in next(iter(loader))])
    assert drawn[0] == drawn[1]

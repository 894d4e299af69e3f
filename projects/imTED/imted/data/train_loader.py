"""A training loader whose samples depend on the seed alone, and which resumes in the middle."""

import copy
import os
import random
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from detectron2.data import DatasetFromList, DatasetMapper
from detectron2.data import transforms as T
from detectron2.data.build import trivial_batch_collator, worker_init_reset_seed
from detectron2.data.detection_utils import SizeMismatchError
from detectron2.data.samplers import RepeatFactorTrainingSampler, TrainingSampler
from detectron2.utils import comm
from detectron2.utils.serialize import PicklableWrapper
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler

from imted.data.augmentation import DEFAULT, build_augmentations
from imted.errors import UserError

Draw = tuple[int, int]  # the index of an image and the number of the draw


def build_train_loader(
    dataset: Sequence[dict],
    mapper: Callable[[dict], dict | None],
    total_batch_size: int,
    num_workers: int = 0,
    seed: int | None = None,
    aspect_ratio_grouping: bool = True,
    repeat_threshold: float = 0.0,
    augmentation: str = DEFAULT,
) -> DataLoader:
    """Build an endless loader of batches (`list` of what the mapper returns).

    One endless sequence of images, and how each of them is augmented, follows from `seed`; the
    processes take turns in it, and the number of workers changes nothing. To continue a run that
    has consumed n batches, set `loader.batch_sampler.start = n` before iterating: the images
    of the skipped batches aren't loaded.

    Args:
        dataset: The dataset's dicts.
        mapper: Turns a dict into a sample; returning None rejects it, and the next one of the
            dataset takes its place.
        total_batch_size: Images in a batch, over all processes.
        num_workers: Processes that load, for each training process; 0 loads in the process itself.
        seed: Seeds order and augmentation; None draws one that all processes share, as
            Detectron2 does. train_net.py gives `train.seed`.
        aspect_ratio_grouping: Landscape and portrait images go to separate batches, which saves
            padding. Needs "width" and "height" in the dicts; without them nothing is grouped.
        repeat_threshold: Images with a class that fewer than this part of the images show come
            more often, sqrt(threshold / part) times for their rarest one (LVIS); 0: never.
        augmentation: Takes the place of a `DatasetMapper`'s own: "detr", "large_scale_jitter" or
            "strong" (`imted.data.augmentation`); "default" leaves it.

    Raises:
        UserError: The dataset is empty, the batch can't be split evenly over the processes, or
            there is no such augmentation.
    """
    seed = comm.shared_random_seed() if seed is None else seed
    world_size = comm.get_world_size()
    if total_batch_size < 1 or total_batch_size % world_size:
        raise UserError(
            f"dataloader.train.total_batch_size is {total_batch_size}; it must be a positive "
            f"multiple of the number of processes ({world_size})."
        )
    if len(dataset) == 0:
        raise UserError("The training set (dataloader.train.dataset) has no images.")
    if augmentation != DEFAULT:
        mapper = _augmented(mapper, augmentation)
    groups = None
    if aspect_ratio_grouping:
        sizes = [(d.get("width"), d.get("height")) for d in dataset]
        known = [(width, height) for width, height in sizes if width and height]
        if len(known) == len(sizes):
            groups = [int(width > height) for width, height in known]
    if repeat_threshold > 0:
        factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
            dataset, repeat_threshold
        )
        sampler = RepeatFactorTrainingSampler(factors, seed=seed)
    else:
        sampler = TrainingSampler(len(dataset), seed=seed)
    batch_sampler = ResumableBatchSampler(sampler, total_batch_size // world_size, groups)
    return DataLoader(
        SeededDataset(
            # What is shared is in bytes already.
            DatasetFromList(dataset, copy=False, serialize=isinstance(dataset, list)),
            mapper,
            seed,
        ),
        batch_sampler=batch_sampler,
        num_workers=num_workers,
        collate_fn=trivial_batch_collator,
        worker_init_fn=partial(_start_worker, os.getpid()),
        # Its own generator: the loader then leaves the process's alone.
        generator=torch.Generator().manual_seed(seed),
    )


def _augmented(mapper: Callable[[dict], dict | None], name: str) -> DatasetMapper:
    """Return a mapper with other augmentations."""
    if not isinstance(mapper, DatasetMapper):
        raise UserError(
            f"dataloader.train.augmentation={name} needs Detectron2's DatasetMapper as "
            f"dataloader.train.mapper, not {type(mapper).__name__}; leave it default."
        )
    augmented = copy.copy(mapper)
    augmented.augmentations = T.AugmentationList(
        build_augmentations(name, mapper.augmentations.augs)
    )
    # They all crop: boxes follow what is left of their masks.
    augmented.recompute_boxes = mapper.use_instance_mask
    return augmented


def _start_worker(trainer: int, number: int) -> None:
    """Seed a process that loads images, and leave its end to its trainer.

    The signals that ask for an end go to all processes of a cluster's job, and of a terminal; the
    trainer still has a step to finish.
    """
    worker_init_reset_seed(number)
    for signum in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(signum, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # absent from macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_wait_for_end, args=(trainer,), daemon=True).start()


def _wait_for_end(trainer: int) -> None:
    """End this process at the first SIGTERM that its trainer has sent, not somebody else."""
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != trainer:
        pass
    os._exit(0)


class ResumableBatchSampler(Sampler[list[Draw]]):
    """Group an endless stream of indices into batches of one aspect ratio.

    Attributes:
        start: How many batches to leave out.
    """

    def __init__(
        self, sampler: Sampler[int], batch_size: int, groups: list[int] | None = None
    ) -> None:
        """Start with the first batch.

        Args:
            sampler: Yields the indices of this rank.
            batch_size: Images in a batch of this rank.
            groups: The group of every image; None puts all in one.
        """
        self.sampler = sampler
        self.batch_size = batch_size
        self.groups = groups
        self.start = 0

    def __iter__(self) -> Iterator[list[Draw]]:
        buckets: dict[int, list[Draw]] = {}
        batches = 0
        for draw, index in enumerate(self.sampler):
            bucket = buckets.setdefault(self.groups[index] if self.groups else 0, [])
            bucket.append((index, draw))
            if len(bucket) == self.batch_size:
                batches += 1
                if batches > self.start:
                    yield list(bucket)
                bucket.clear()


class SeededDataset(Dataset):
    """Map a dict to a sample under generators seeded for that one draw."""

    def __init__(
        self, dataset: DatasetFromList, mapper: Callable[[dict], dict | None], seed: int
    ) -> None:
        """Keep the settings, and this process's place among all.

        Args:
            dataset: The dicts.
            mapper: See `build_train_loader`.
            seed: Every draw's own seed follows from it and the draw's number over all processes.
        """
        self.dataset = dataset
        self.mapper = PicklableWrapper(mapper)  # one that a config defines is no module's
        self.seed = seed
        self.rank, self.world_size = comm.get_rank(), comm.get_world_size()

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, item: Draw) -> dict:
        index, draw = item
        entropy = (self.seed, draw * self.world_size + self.rank)
        with _seeded(int(np.random.SeedSequence(entropy).generate_state(1)[0])):
            for offset in range(len(self.dataset)):
                sample = self._map(self.dataset[(index + offset) % len(self.dataset)])
                if sample is not None:
                    return sample
        raise UserError("dataloader.train.mapper rejects every image of the training set.")

    def _map(self, entry: dict) -> dict | None:
        try:
            return self.mapper(entry)
        except (OSError, SyntaxError, SizeMismatchError, Image.DecompressionBombError) as error:
            # It was there and whole when the training began.
            raise UserError(
                f"{entry.get('file_name', 'An image')} can't be read any more ({error}); put it "
                "back, and go on with --resume."
            ) from None


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed random, numpy and torch, and put their former states back afterwards."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)  # unlike torch.manual_seed: CPU only
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])

"""Schedules in epochs: how many iterations they are follows from the training set."""

import math
from collections.abc import Sequence

from omegaconf import DictConfig

from imted.errors import UserError


def check_epochs(cfg: DictConfig, overrides: Sequence[str], path: str) -> None:
    """Refuse iterations where the config counts epochs.

    Args:
        cfg: The whole config.
        overrides: What the user has changed in it.
        path: Its file, for the error.

    Raises:
        UserError: Both were given.
    """
    if cfg.train.epochs is None:
        return
    for override in overrides:
        key = override.partition("=")[0]
        if key == "train.max_iter":
            raise UserError(
                f"{path} counts epochs (train.epochs={cfg.train.epochs:g}), so train.max_iter "
                "follows from the data; set train.epochs, or add train.epochs=null and give "
                "train.eval_period and train.checkpointer.period in iterations, too."
            )


def count_iterations(cfg: DictConfig, images: int | None) -> None:
    """Turn `train.epochs` into `train.max_iter`, and the periods, in place.

    Args:
        cfg: The whole config; one without epochs stays as it is.
        images: How many an epoch has; None where the loader doesn't know.

    Raises:
        UserError: The number of images isn't known.
    """
    train = cfg.train
    if train.epochs is None:
        return
    if images is None:
        raise UserError(
            "train.epochs needs a loader of known length, such as this project's "
            "build_train_loader; set train.epochs=null and train.max_iter."
        )
    batch = cfg.dataloader.train.total_batch_size * train.accumulation_steps

    def iterations(epochs: float) -> int:
        return math.ceil(epochs * images / batch - 1e-6)

    train.max_iter = iterations(train.epochs)
    train.eval_period = iterations(train.eval_period)
    train.checkpointer.period = iterations(train.checkpointer.period)

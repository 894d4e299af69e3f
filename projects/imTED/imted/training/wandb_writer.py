"""Weights & Biases beside TensorBoard: an optional package, and a service on the network."""

import importlib
import os
import secrets
from pathlib import Path
from typing import Any

from detectron2.utils.events import EventWriter, get_event_storage
from omegaconf import DictConfig, OmegaConf

from imted.atomic import write_text
from imted.compat import waiting_images
from imted.config.saved import read_values
from imted.errors import UserError, first_line
from imted.run_folder import WANDB_ID


class WandbWriter(EventWriter):
    """Log scalars, smoothed as TensorBoard's, and the pictures that wait for it.

    TensorBoard's writer removes the pictures, so this one comes before it. The run's axis is
    "iteration": after a crash, iterations come twice, which the service's own counter refuses.
    """

    def __init__(self, cfg: DictConfig, window_size: int = 20) -> None:
        """Start the run, or go on with the one of `train.output_dir`.

        Args:
            cfg: The config, with `train.wandb`.
            window_size: Iterations over which a median is taken.

        Raises:
            UserError: The package isn't installed, or the service doesn't take the run.
        """
        self._wandb = _package()
        self._window_size = window_size
        self._last_write = -1
        settings, folder = cfg.train.wandb, cfg.train.output_dir
        try:
            self._run = self._wandb.init(
                project=settings.project,
                entity=settings.entity,
                name=settings.name or os.path.basename(os.path.normpath(folder)),
                id=_run_id(Path(folder)),
                resume="allow",
                dir=folder,
                config=OmegaConf.to_container(read_values(os.path.join(folder, "config.yaml"))),
            )
        except Exception as error:  # of the network, of the key, of the service
            raise UserError(
                f"Weights & Biases doesn't take the run ({first_line(error)}); run `wandb login`, "
                "set WANDB_MODE=offline, or train.wandb.enabled=false."
            ) from error
        self._run.define_metric("*", step_metric="iteration")

    def write(self) -> None:
        """Log what has come since the last time, an iteration's values together."""
        storage = get_event_storage()
        rows: dict[int, dict[str, Any]] = {}
        latest = storage.latest_with_smoothing_hint(self._window_size)
        for name, (value, iteration) in latest.items():
            if iteration > self._last_write:
                rows.setdefault(iteration, {})[name] = value
        self._last_write = max([self._last_write, *rows])
        for name, picture, iteration in waiting_images(storage):
            image = self._wandb.Image(picture.permute(1, 2, 0).numpy())
            rows.setdefault(iteration, {})[name] = image
        for iteration, row in sorted(rows.items()):
            self._run.log({"iteration": iteration, **row})

    def close(self) -> None:
        """End the run; what is left is sent."""
        self._run.finish()


def _package() -> Any:
    missing: str | None = "wandb"
    try:
        package = importlib.import_module("wandb")
        if hasattr(package, "init"):  # else it is a folder "wandb" that some run has left here
            return package
    except ModuleNotFoundError as error:
        missing = error.name
    raise UserError(
        f"train.wandb.enabled needs the package {missing}; pip install wandb, or set "
        "train.wandb.enabled=false."
    )


def _run_id(folder: Path) -> str:
    """Return the id of the folder's run; a new folder gets one."""
    file = folder / WANDB_ID
    if file.is_file():
        return file.read_text().strip()
    new = secrets.token_hex(4)
    write_text(new, file)
    return new

"""Weights & Biases, which reads along with TensorBoard: an optional package, and a service."""

import importlib
import os
import secrets
from pathlib import Path
from typing import Any

from detectron2.utils.events import TensorboardXWriter
from omegaconf import DictConfig, OmegaConf

from imted.atomic import write_text
from imted.config.saved import read_values
from imted.errors import UserError, first_line
from imted.run_folder import CONFIG, WANDB_ID


class WandbWriter(TensorboardXWriter):
    """TensorBoard's writer, whose files Weights & Biases follows while it is open."""

    def __init__(self, cfg: DictConfig) -> None:
        """Start the run, or go on with the one of `train.output_dir`.

        Raises:
            UserError: The package isn't installed, or the service doesn't take the run.
        """
        package = _package()
        settings, folder = cfg.train.wandb, cfg.train.output_dir
        try:
            self._run = package.init(
                project=settings.project,
                entity=settings.entity,
                name=settings.name or os.path.basename(os.path.normpath(folder)),
                id=_run_id(Path(folder)),
                resume="allow",
                dir=folder,
                config=OmegaConf.to_container(read_values(os.path.join(folder, CONFIG))),
                sync_tensorboard=True,
            )
        except Exception as error:  # of the network, of the key, of the service
            raise UserError(
                f"Weights & Biases doesn't take the run ({first_line(error)}); run `wandb login`, "
                "set WANDB_MODE=offline, or train.wandb.enabled=false."
            ) from error
        super().__init__(folder)

    def close(self) -> None:
        """End the file and the run; what is left is sent."""
        super().close()
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
    if not file.is_file():
        write_text(secrets.token_hex(4), file)
    return file.read_text().strip()

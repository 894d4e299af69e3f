"""Saving and resuming of a run."""

import os
from pickle import UnpicklingError
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from imted.atomic import replacing, write_text
from imted.checkpoint import Description, require_finite
from imted.checkpoint.description import KEY
from imted.checkpoint.files import load_torch
from imted.errors import UserError
from imted.run_folder import LAST, forget_replaced


class DescribedCheckpointer(DetectionCheckpointer):
    """Save what the file says of itself beside the weights."""

    def __init__(
        self,
        model: nn.Module,
        save_dir: str,
        description: Description | None,
        **checkpointables: Any,
    ) -> None:
        """Keep the description.

        Args:
            model: See Detectron2's ``DetectionCheckpointer``.
            save_dir: The same.
            description: None for a model that has none.
            **checkpointables: The same.
        """
        super().__init__(model, save_dir, **checkpointables)
        self.description = description

    def save(self, name: str, **kwargs: Any) -> None:
        """Save what Detectron2's does, with the description; whole or not at all.

        Args:
            name: The file's name, without ".pth".
            **kwargs: What to save beside the checkpointables.

        Raises:
            UserError: A weight isn't finite, or the file can't be written.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        data = {
            "model": self.model.state_dict(),
            **{key: item.state_dict() for key, item in self.checkpointables.items()},
            **kwargs,
        }
        if self.description is not None:
            data[KEY] = self.description.to_dict()
        for key in ("model", "ema"):
            require_finite(data.get(key, {}), f"{name}.pth isn't saved: the model")
        path = os.path.join(self.save_dir, f"{name}.pth")
        self.logger.info("Saving checkpoint to %s", path)
        # A file of Python's: torch's own hides what the system has refused.
        with replacing(path) as partial, open(partial, "wb") as file:
            torch.save(data, file)
        self.tag_last_checkpoint(os.path.basename(path))

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Name the file that `--resume` continues from."""
        write_text(last_filename_basename, os.path.join(self.save_dir, LAST))
        forget_replaced(self.save_dir)


class RunCheckpointer(DescribedCheckpointer):
    """Save and load a run; a checkpoint of another model isn't one to resume from."""

    def resume(self) -> dict[str, Any]:
        """Load the checkpoint that the run names as its last; return what is left of it.

        Raises:
            UserError: It isn't there, can't be read, holds weights alone, or is of another model
                or of other trained parameters.
        """
        path = self.get_checkpoint_file()
        other = f"name another model_*.pth of that folder in its {LAST}"
        if not os.path.isfile(path):
            raise UserError(f"{path}, to resume from, doesn't exist (train.output_dir); {other}.")
        try:
            # fvcore's, since Detectron2's takes what follows a "?" in a folder's name for a query.
            return super(DetectionCheckpointer, self).load(path)
        except (RuntimeError, EOFError, OSError, UnpicklingError) as error:  # of a torn file
            reason = next(iter(str(error).splitlines()), "it is empty")
            raise UserError(f"{path} can't be resumed from ({reason}); {other}.") from error
        except ValueError as error:  # torch's, of an optimizer with other parameters
            raise UserError(
                f"The checkpoint in {self.save_dir} (train.output_dir) trained other "
                f"parameters ({error}); resume with the train.frozen and the optimizer of that run."
            ) from error

    def _load_file(self, filename: str) -> dict[str, Any]:
        """Read a checkpoint without executing code, whatever torch's default is."""
        loaded = load_torch(filename)
        return loaded if isinstance(loaded, dict) and "model" in loaded else {"model": loaded}

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        if "trainer" not in checkpoint:
            raise UserError(
                f"The checkpoint that {self.save_dir}/{LAST} (train.output_dir) names "
                "holds weights alone; name one that can be resumed from, or give it to "
                "train.init_checkpoint of a new run."
            )
        self._check_classes(checkpoint)
        incompatible = super()._load_model(checkpoint)
        shapes = [name for name, *_ in incompatible.incorrect_shapes]
        wrong = [*shapes, *incompatible.missing_keys, *incompatible.unexpected_keys]
        if wrong:
            raise UserError(
                f"The checkpoint in {self.save_dir} (train.output_dir) is of another model: "
                f"{wrong[0]} and {len(wrong) - 1} more don't fit; resume with the config of that "
                "run, or use it as train.init_checkpoint of a new one."
            )
        return incompatible

    def _check_classes(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a run on as many classes of other names."""
        if self.description is None or KEY not in checkpoint:
            return
        classes = self.description.classes
        found = Description.from_dict(checkpoint[KEY], self.save_dir).classes
        if found != classes:
            theirs, ours = next(
                (pair for pair in zip(found, classes, strict=False) if pair[0] != pair[1]),
                (f"{len(found)} classes", f"{len(classes)}"),
            )
            raise UserError(
                f"The checkpoint in {self.save_dir} (train.output_dir) has other classes than the "
                f"data set ({theirs!r}, not {ours!r}); resume with the data set of that run, or "
                "name another train.output_dir."
            )


class UntaggedCheckpointer(DescribedCheckpointer):
    """Save without becoming the checkpoint that `--resume` continues from."""

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Leave the last checkpoint what it was."""

"""Saving and resuming of a run."""

import os
from pickle import UnpicklingError
from typing import Any

from detectron2.checkpoint import DetectionCheckpointer

from imted.errors import UserError


class RunCheckpointer(DetectionCheckpointer):
    """Save and load a run; a checkpoint of another model isn't one to resume from."""

    def resume(self) -> dict[str, Any]:
        """Load the checkpoint that `last_checkpoint` names; return what is left of it.

        Raises:
            UserError: It isn't there, can't be read, holds weights alone, or is of another model
                or of other trained parameters.
        """
        path = self.get_checkpoint_file()
        other = "name another model_*.pth of that folder in its last_checkpoint"
        if not os.path.isfile(path):
            raise UserError(f"{path}, to resume from, doesn't exist (train.output_dir); {other}.")
        try:
            return self.load(path)
        except (RuntimeError, EOFError, OSError, UnpicklingError) as error:  # of a torn file
            reason = str(error).splitlines()[0]
            raise UserError(f"{path} can't be resumed from ({reason}); {other}.") from error
        except ValueError as error:  # torch's, of an optimizer with other parameters
            raise UserError(
                f"The checkpoint in {self.save_dir} (train.output_dir) trained other "
                f"parameters ({error}); resume with the train.frozen and the optimizer of that run."
            ) from error

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        if "trainer" not in checkpoint:
            raise UserError(
                f"The checkpoint that {self.save_dir}/last_checkpoint (train.output_dir) names "
                "holds weights alone; name one that can be resumed from, or give it to "
                "train.init_checkpoint of a new run."
            )
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


class UntaggedCheckpointer(DetectionCheckpointer):
    """Save without becoming the checkpoint that `--resume` continues from."""

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Leave the file last_checkpoint as it is."""

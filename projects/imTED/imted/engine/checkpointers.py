"""Saving and resuming of a run."""

from detectron2.checkpoint import DetectionCheckpointer

from imted.errors import UserError


class RunCheckpointer(DetectionCheckpointer):
    """Save and load a run; a checkpoint of another model isn't one to resume from."""

    def _load_model(self, checkpoint: dict):
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

    def tag_last_checkpoint(self, last_filename_basename: str):
        """Leave the file last_checkpoint as it is."""

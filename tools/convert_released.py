"""Write a detector that imTED's authors released (mmdetection's layout) in this project's layout.

The config says what the file must be; every weight of the one must be in the other.
"""

import argparse
import sys

from imted.checkpoint import load_checkpoint, save_state_dict
from imted.config.load import load_config
from imted.errors import UserError, exit_status
from imted.training.describe import describe, registered_categories

from detectron2.config import instantiate


@exit_status
def main(argv: list[str] | None = None) -> None:
    """Read, check, write, and list where each weight came from."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="the released file, a path or URL")
    parser.add_argument("output", help="a .pth or .safetensors file")
    parser.add_argument("--config-file", required=True, help="the file's own, in configs/released")
    parser.add_argument(
        "overrides", nargs="*", help="key=value, such as model.roi_heads.num_classes=60"
    )
    args = parser.parse_intermixed_args(argv)
    cfg = load_config(args.config_file, args.overrides)
    model = instantiate(cfg.model)
    report = load_checkpoint(model, args.checkpoint)
    if report.fresh or all(name == key for name, key in report.loaded.items()):
        raise UserError(f"{args.checkpoint} is not in the layout of the released detectors.")
    description = describe(model, cfg, registered_categories(cfg))
    save_state_dict(model.state_dict(), args.output, description)
    print(report.table())
    print(f"The weights are in {args.output}")


if __name__ == "__main__":
    sys.exit(main())

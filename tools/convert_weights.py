#!/usr/bin/env python
"""Write a masked autoencoder as MAE's own file, or as a folder for Hugging Face's transformers.

It may be a file of MAE's, a pre-training run's, or a ViT MAE of transformers' (a folder, or
hf://OWNER/NAME); the config says what it must be.
"""

import argparse
import sys

from imted.checkpoint import load_checkpoint, save_mae
from imted.config.load import load_config
from imted.errors import UserError, exit_status
from imted.modeling import MaskedAutoencoder

from detectron2.config import instantiate

EPILOG = """\
examples
  python tools/convert_weights.py --config-file configs/pretrain/mae_vit_base.py \\
      output/mae_vit_base/mae_final.safetensors output/mae_vit_base/huggingface
  python tools/convert_weights.py --config-file configs/pretrain/mae_vit_base.py \\
      hf://facebook/vit-mae-base weights/mae_vit_base.safetensors
"""


@exit_status
def main(argv: list[str] | None = None) -> None:
    """Read, check, write, and list where each weight came from."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="a file, a folder, a URL, or hf://OWNER/NAME")
    parser.add_argument(
        "output", help="a .pth or .safetensors file in MAE's layout; or a folder, for transformers"
    )
    parser.add_argument("--config-file", required=True, help="one of configs/pretrain")
    parser.add_argument("overrides", nargs="*", help="key=value, changes of the config")
    args = parser.parse_intermixed_args(argv)
    cfg = load_config(args.config_file, args.overrides)
    model = instantiate(cfg.model)
    if not isinstance(model, MaskedAutoencoder):
        raise UserError(f"{args.config_file} is no masked autoencoder's; name one that is.")
    report = load_checkpoint(model, args.source)
    if report.fresh:
        raise UserError(
            f"{args.source} lacks {len(report.fresh)} weights, {next(iter(report.fresh))!r} first."
        )
    save_mae(model, args.output)
    print(report.table())
    print(f"The weights are in {args.output}")


if __name__ == "__main__":
    sys.exit(main())

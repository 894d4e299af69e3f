"""Round a checkpoint's weights to half precision: half the size, to share or to ship."""

import argparse
import sys

from imted.checkpoint import read_description, read_state_dict, require_finite, save_state_dict
from imted.errors import UserError, exit_status

import torch


@exit_status
def main(argv: list[str] | None = None) -> None:
    """Write the rounded weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="a path or URL, such as output/mae_final.safetensors")
    parser.add_argument("output", help="a .safetensors or .pth file")
    parser.add_argument(
        "--averaged",
        action="store_true",
        help="take the average that a training with train.ema has kept, which is what it evaluates",
    )
    args = parser.parse_args(argv)
    if not args.output.endswith((".safetensors", ".pth")):
        raise UserError(f"{args.output} (output) must end in .safetensors or .pth.")
    weights = read_state_dict(args.checkpoint, args.averaged, field="checkpoint")
    require_finite(weights, args.checkpoint)
    description = read_description(args.checkpoint, field="checkpoint")
    save_state_dict(_halve(weights, args.checkpoint), args.output, description)


def _halve(weights: dict[str, torch.Tensor], path: str) -> dict[str, torch.Tensor]:
    """Round floating-point tensors.

    Raises:
        UserError: A finite value is beyond half precision's range.
    """
    halved = {}
    for name, value in weights.items():
        halved[name] = value.half() if value.is_floating_point() else value
        if not torch.equal(halved[name].isfinite(), value.isfinite()):
            raise UserError(f"{path}: {name!r} has values beyond 65504, half precision's largest.")
    return halved


if __name__ == "__main__":
    sys.exit(main())

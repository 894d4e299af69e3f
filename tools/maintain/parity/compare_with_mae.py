"""Compare the masked autoencoder here with MAE's own code, stage by stage, on random images.

    git clone https://github.com/facebookresearch/mae
    python tools/maintain/parity/compare_with_mae.py --mae mae --size base

Both get the same random weights, through a file in the official layout, and the same mask. A line
has the largest difference over the largest value.
"""

import argparse
import importlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from imted.checkpoint import load_checkpoint
from imted.compat import numpy_float, silence
from imted.errors import UserError, exit_status

import timm.models.vision_transformer
import torch
from detectron2.config import LazyConfig, instantiate

CONFIGS = Path(__file__).resolve().parents[3] / "configs" / "pretrain"
NAMES = {
    "base": "mae_vit_base_patch16",
    "large": "mae_vit_large_patch16",
    "huge": "mae_vit_huge_patch14",
}
MASK_RATIO = 0.75
MASK_SEED = 7
Model = Any  # an autoencoder of either code: torch's type of a module knows none of its attributes
Result = TypeVar("Result")


@exit_status
def main(argv: list[str] | None = None) -> int:
    """Run the command line; the exit status is 0 if everything is within `--tolerance`."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mae", required=True, help="a clone of github.com/facebookresearch/mae")
    parser.add_argument("--size", default="base", choices=NAMES)
    parser.add_argument("--double", action="store_true", help="float64: tells rounding from error")
    parser.add_argument("--tolerance", type=float, default=1e-5)
    args = parser.parse_args(argv)
    if not (Path(args.mae) / "models_mae.py").is_file():
        raise UserError(f"{args.mae} (--mae) is no clone of github.com/facebookresearch/mae.")
    silence()
    dtype = torch.float64 if args.double else torch.float32
    theirs = build_official(args.mae, args.size)
    ours = instantiate(LazyConfig.load(str(CONFIGS / f"mae_vit_{args.size}.py")).model)
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/mae.pth"
        torch.save({"model": theirs.state_dict()}, path)
        load_checkpoint(ours, path)
    with torch.no_grad():
        differences = compare(theirs.to(dtype).eval(), ours.to(dtype).eval(), dtype)
    for stage, value in differences.items():
        print(f"{stage:30}{value:10.1e}")
    largest = max(differences.values())
    print(f"largest {largest:.1e}; tolerance {args.tolerance:.0e}")
    return int(not largest <= args.tolerance)


def build_official(clone: str, size: str) -> Model:
    """Build MAE's own model with random weights; its code expects an older timm and NumPy."""
    sys.path.insert(0, clone)
    torch.manual_seed(0)
    with _older_timm(), numpy_float():
        model = getattr(importlib.import_module("models_mae"), NAMES[size])()
    # Norms, biases and tables start at values that would hide an error.
    for name, parameter in model.named_parameters():
        noise = torch.randn(parameter.shape)
        parameter.requires_grad_(False)
        if "norm" in name and name.endswith("weight"):
            parameter.copy_(1 + 0.2 * noise)
        elif parameter.ndim == 1:
            parameter.copy_(0.1 * noise)
        else:
            parameter.add_(noise, alpha=0.5 if name.endswith("token") else 0.02)
    return model


@contextmanager
def _older_timm() -> Iterator[None]:
    """Let timm's block take `qk_scale`, which it dropped in 0.4; MAE's code passes None."""
    block = timm.models.vision_transformer.Block

    def older_block(*args: Any, qk_scale: float | None = None, **kwargs: Any) -> torch.nn.Module:
        assert qk_scale is None
        return block(*args, **kwargs)

    timm.models.vision_transformer.Block = older_block
    try:
        yield
    finally:
        timm.models.vision_transformer.Block = block


def compare(theirs: Model, ours: Model, dtype: torch.dtype) -> dict[str, float]:
    """Return the relative difference of each stage, for the same images and the same mask."""
    pixels = torch.randint(0, 256, (2, 3, 224, 224)).to(dtype)
    images = (pixels - ours.pixel_mean) / ours.pixel_std
    batch = [{"image": image} for image in pixels]
    stages = {
        "encoder, last block": (theirs.blocks[-1], ours.encoder.blocks[-1]),
        "latent": (theirs.norm, ours.decoder.norm),
        "decoder, last block": (theirs.decoder_blocks[-1], ours.decoder.decoder_blocks[-1]),
    }
    outputs = {stage: [_record(module) for module in pair] for stage, pair in stages.items()}
    differences = {}
    for norm_pix_loss in (False, True):
        theirs.norm_pix_loss = ours.norm_pix_loss = norm_pix_loss
        loss, prediction, mask = _with_mask_noise(lambda: theirs(images, MASK_RATIO), dtype)
        our_loss = _with_mask_noise(lambda: ours(batch), dtype)["loss_reconstruction"]
        differences[f"loss, norm_pix_loss={norm_pix_loss}"] = relative(our_loss, loss)
    torch.manual_seed(MASK_SEED)
    noise = torch.rand(mask.shape, dtype=dtype)
    our_prediction, our_mask = ours.reconstruct(images, noise)
    assert torch.equal(our_mask.to(mask), mask)
    for stage, (expected, found) in outputs.items():
        differences[stage] = relative(found[-1], expected[-1])
    return differences | {"prediction": relative(our_prediction, prediction)}


def _record(module: torch.nn.Module) -> list[torch.Tensor]:
    outputs = []
    module.register_forward_hook(lambda module, args, output: outputs.append(output))
    return outputs


def _with_mask_noise(run: Callable[[], Result], dtype: torch.dtype) -> Result:
    """Run with the same random numbers for the mask, whatever else is drawn in either code."""
    torch.manual_seed(MASK_SEED)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        return run()
    finally:
        torch.set_default_dtype(default)


def relative(value: torch.Tensor, reference: torch.Tensor) -> float:
    """Return the largest difference over the reference's largest value."""
    return ((value - reference).abs().max() / reference.abs().max()).item()


if __name__ == "__main__":
    sys.exit(main())

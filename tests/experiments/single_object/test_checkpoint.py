"""Migration of a MAE into the three variants of the single-object localizer."""

import pytest
import torch

from imted.checkpoint import load_checkpoint
from imted.errors import UserError
from imted.experiments.single_object import SingleObjectLocalizer
from imted.modeling import MAEEncoder

ENCODER = ("patch_embed", "cls_token", "pos_embed", "blocks")
MIGRATES = {
    "encoder": ("norm",),
    "random_decoder": ("norm",),
    "pretrained_decoder": ("norm", "decoder_embed", "decoder_pos_embed", "decoder_blocks"),
}


@pytest.fixture
def localizer():
    """Build a localizer of the small masked autoencoder's sizes."""

    def build(variant: str, num_classes: int = 3, seed: int = 0) -> SingleObjectLocalizer:
        torch.manual_seed(seed)
        return SingleObjectLocalizer(
            encoder=MAEEncoder(embed_dim=32, depth=3, num_heads=2, pretrain_img_size=64),
            decoder=dict(dim=16, depth=2, num_heads=4, grid_size=4),
            num_classes=num_classes,
            pixel_mean=[0.0] * 3,
            pixel_std=[1.0] * 3,
            variant=variant,
        )

    return build


@pytest.mark.parametrize("variant", MIGRATES)
def test_every_tensor_lands_where_it_belongs(localizer, mae_file, variant):
    path, weights = mae_file()
    model = localizer(variant)
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    for key, value in weights.items():
        part = key.split(".")[0]
        if part in ENCODER:
            expected[f"backbone.net.{key}"] = value
        elif part in MIGRATES[variant]:
            expected[f"box_head.{key}"] = value
    report = load_checkpoint(model, path)
    state = model.state_dict()
    assert state.keys() == expected.keys()
    assert not [name for name in state if not torch.equal(state[name], expected[name])]
    assert set(report.loaded) | set(report.fresh) == set(state)
    blocks = [key for key in weights if key.startswith("decoder_blocks.")]
    assert blocks
    assert {key in report.left_out for key in blocks} == {variant != "pretrained_decoder"}


def test_encoder_alone_stops_the_variant_that_migrates_the_decoder(localizer, mae_file):
    path, weights = mae_file(drop=("decoder_", "mask_token"))
    assert "norm.weight" in weights
    with pytest.raises(UserError, match=r"without its decoder.*box_head.*random_decoder"):
        load_checkpoint(localizer("pretrained_decoder"), path)
    for variant in ("encoder", "random_decoder"):
        model = localizer(variant)
        load_checkpoint(model, path)
        assert torch.equal(model.box_head.norm.weight, weights["norm.weight"])


def test_own_file_loads_as_it_is_and_starts_other_classes_anew(localizer, tmp_path):
    trained = localizer("pretrained_decoder", seed=1)
    path = str(tmp_path / "model_final.pth")
    torch.save({"model": trained.state_dict()}, path)
    model = localizer("pretrained_decoder")
    assert not load_checkpoint(model, path).fresh
    for name, value in trained.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name

    other = localizer("pretrained_decoder", num_classes=5)
    with pytest.raises(UserError, match=r"model_final\.pth.*num_classes"):
        load_checkpoint(other, path)
    report = load_checkpoint(other, path, fine_tune=True)
    assert set(report.fresh) == {"class_logits.weight", "class_logits.bias"}

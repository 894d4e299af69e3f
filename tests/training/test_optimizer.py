import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from omegaconf import OmegaConf

from imted.errors import UserError
from imted.modeling import WindowedEncoder
from imted.modeling.roi_heads import VARIANTS
from imted.training.freezing import freeze
from imted.training.optimizer import layer_decay_param_groups
from imted.training.train import build_optimizer

LR, WEIGHT_DECAY, LAYER_DECAY, DEPTH = 1e-3, 0.05, 0.75, 3  # the depth of the small encoder


def settings(model, **kwargs) -> dict[str, tuple[float, float]]:
    """Map each parameter's name to its learning rate and weight decay; it must be in one group."""
    kwargs = dict(base_lr=LR, weight_decay=WEIGHT_DECAY, layer_decay=LAYER_DECAY) | kwargs
    groups = torch.optim.AdamW(layer_decay_param_groups(model, **kwargs)).param_groups
    names = {parameter: name for name, parameter in model.named_parameters()}
    found = {}
    for group in groups:
        for parameter in group["params"]:
            assert names[parameter] not in found
            found[names[parameter]] = (group["lr"], group["weight_decay"])
    return found


def expected_rate(name: str) -> float:
    if not name.startswith("backbone.net."):
        return LR
    part, *rest = name.removeprefix("backbone.net.").split(".")
    layer = 1 + int(rest[0]) if part == "blocks" else 0  # the patch embedding is layer 0
    return LR * LAYER_DECAY ** (DEPTH + 1 - layer)


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("variant", list(VARIANTS))
def test_every_trainable_parameter_by_the_formula(small_detector, variant, masks):
    model = small_detector(variant, masks)
    found = settings(model)
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert found.keys() == trainable.keys()
    for name, (rate, decay) in found.items():
        assert rate == pytest.approx(expected_rate(name)), name
        free = trainable[name].ndim == 1 or name.endswith(("cls_token", "pos_embed"))
        assert decay == (0.0 if free else WEIGHT_DECAY), name


def test_by_name(small_detector):
    """The same in numbers for those that are easily forgotten."""
    found = settings(small_detector())
    stem = LR * 0.75**4
    assert found["backbone.net.cls_token"] == (pytest.approx(stem), 0.0)
    assert found["backbone.net.pos_embed"] == (pytest.approx(stem), 0.0)
    assert found["backbone.net.patch_embed.proj.weight"] == (pytest.approx(stem), WEIGHT_DECAY)
    assert found["backbone.net.patch_embed.proj.bias"] == (pytest.approx(stem), 0.0)
    first, last = "backbone.net.blocks.0.attn.qkv.weight", "backbone.net.blocks.2.attn.qkv.weight"
    assert found[first] == (pytest.approx(LR * 0.75**3), WEIGHT_DECAY)
    assert found[last] == (pytest.approx(LR * 0.75), WEIGHT_DECAY)
    assert found["backbone.simfp_2.0.weight"] == (LR, WEIGHT_DECAY)
    assert found["roi_heads.box_head.decoder_blocks.0.attn.qkv.weight"] == (LR, WEIGHT_DECAY)
    assert found["roi_heads.box_head.norm.weight"] == (LR, 0.0)
    assert found["roi_heads.box_pooler.scale"] == (LR, 0.0)
    assert "roi_heads.box_head.decoder_pos_embed" not in found


def test_decay_through_the_decoder(small_detector):
    """In numbers, for an encoder of 3 blocks and a decoder of 2: 2 + 1 + 3 + 1 steps of decay."""
    found = settings(small_detector(), layer_decay=0.5, decay_decoder=True)
    steps = {
        "backbone.net.patch_embed.proj.weight": 7,
        "backbone.net.cls_token": 7,
        "backbone.net.blocks.0.attn.qkv.weight": 6,
        "backbone.net.blocks.2.mlp.fc1.weight": 4,
        "roi_heads.box_head.norm.weight": 3,
        "roi_heads.box_head.decoder_embed.weight": 3,
        "roi_heads.box_head.decoder_blocks.0.attn.qkv.weight": 2,
        "roi_heads.box_head.decoder_blocks.1.norm2.bias": 1,
        "roi_heads.box_head.box_norm.weight": 0,
        "roi_heads.box_predictor.cls_score.weight": 0,
        "roi_heads.box_pooler.scale": 0,
        "backbone.simfp_2.0.weight": 0,
    }
    assert {name: found[name][0] for name in steps} == {n: LR * 0.5**k for n, k in steps.items()}


@pytest.mark.parametrize(
    ("setting", "key"), [({"decay_decoder": True}, "decay_decoder"), ({}, "layer_decay")]
)
def test_a_decay_that_finds_no_layers_is_an_error(small_detector, setting, key):
    model = small_detector("baseline") if setting else torch.nn.Linear(1, 1)
    with pytest.raises(UserError, match=rf"optimizer\.params\.{key}=.* finds no "):
        settings(model, **setting)


def test_frozen_parameters_are_in_no_group(small_detector):
    model = small_detector()
    freeze(model, ["backbone.net"])
    found = settings(model)
    assert found.keys() == {
        name
        for name, p in model.named_parameters()
        if p.requires_grad and not name.startswith("backbone.net.")
    }


def test_windowed_encoder(small_detector_config):
    cfg = small_detector_config()
    cfg.backbone.net = L(WindowedEncoder)(
        embed_dim=32,
        depth=DEPTH,
        num_heads=2,
        img_size=64,
        use_rel_pos=True,
        out_feature="last_feat",
    )
    cfg.roi_heads.variant = "baseline"
    found = settings(instantiate(cfg))
    for name, (rate, decay) in found.items():
        assert rate == pytest.approx(expected_rate(name)), name
        assert decay == 0.0 or "rel_pos" not in name


def test_masked_autoencoder(small_mae):
    model = small_mae()
    found = settings(model, layer_decay=1.0)
    assert found.keys() == {name for name, p in model.named_parameters() if p.requires_grad}
    assert {rate for rate, _ in found.values()} == {LR}
    assert found["encoder.cls_token"][1] == found["decoder.mask_token"][1] == 0.0
    assert found["decoder.decoder_pred.weight"][1] == WEIGHT_DECAY


def test_groups_are_as_few_as_there_are_settings(small_detector):
    model = small_detector()
    groups = layer_decay_param_groups(model, LR, WEIGHT_DECAY, LAYER_DECAY)
    assert len(groups) == len(set(settings(model).values()))


class KeepsItsSettings(torch.optim.Optimizer):
    """Holds on to the very list that it is given, as AdamW of torch 2.5 does."""

    def __init__(self, params, lr, betas):
        super().__init__(params, {"lr": lr, "betas": betas})


def test_what_a_checkpoint_holds_of_it_is_plain(tmp_path):
    params = L(layer_decay_param_groups)(base_lr=LR, layer_decay=1.0, weight_decay=0.0)
    optimizer = L(KeepsItsSettings)(params=params, lr=LR, betas=[0.9, 0.95])
    cfg = OmegaConf.create({"optimizer": optimizer}, flags={"allow_objects": True})
    built = build_optimizer(cfg, torch.nn.Linear(2, 2))
    torch.save(built.state_dict(), tmp_path / "optimizer.pth")
    saved = torch.load(tmp_path / "optimizer.pth", weights_only=True)
    assert {group["betas"] for group in saved["param_groups"]} == {(0.9, 0.95)}

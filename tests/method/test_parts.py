"""What models say of their parts holds for the modules that they have."""

import pytest
import torch
from detectron2.config import LazyConfig, instantiate
from fixtures.weights import official_weights

from imted.compat import detectron2_config_file
from imted.modeling import VARIANTS, parts_of
from imted.modeling.parts import ENCODER


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("variant", list(VARIANTS))
def test_a_detector_has_the_modules_it_names(small_detector, variant, masks):
    model = small_detector(variant, masks)
    parts, modules = parts_of(model), dict(model.named_modules())
    spec = VARIANTS[variant]
    assert (parts.encoder, parts.decoder) == (
        "backbone.net",
        "roi_heads.box_head" if spec.decoder else "",
    )
    assert parts.migrated == (spec.migrated if spec.decoder else ())
    assert (parts.scale in model.state_dict()) == (spec.reads == "both")
    assert parts.box_predictor == "roi_heads.box_predictor"
    masks_layer = "roi_heads.mask_head.predictor"
    assert parts.class_modules == (parts.box_predictor, *([masks_layer] if masks else []))
    assert all(name in modules for name in parts.class_modules)
    for layer in ("box_predictor.cls_score", "box_predictor.bbox_pred", "mask_head.predictor"):
        assert parts.of_classes(f"roi_heads.{layer}.weight") == (masks or "mask" not in layer)
    assert not parts.of_classes("roi_heads.box_head.norm.weight")


def test_names_within_parts(small_detector):
    parts = parts_of(small_detector())
    assert parts.in_encoder("backbone.net.blocks.0.norm1.weight") == "blocks.0.norm1.weight"
    assert parts.in_encoder("backbone.network.x") == parts.in_encoder("backbone.net") == ""
    assert parts.mae_key("roi_heads.box_head.decoder_embed.bias") == "decoder_embed.bias"
    assert parts.mae_key("roi_heads.box_head.box_norm.bias") == ""
    assert parts.mae_key("backbone.simfp_2.0.weight") == "pyramid.simfp_2.0.weight"
    assert parts.mae_key("roi_heads.box_pooler.scale") == "modulator.scale"


def test_all_of_a_mae_comes_into_a_mae(small_mae):
    model = small_mae()
    parts = parts_of(model)
    keys = [parts.mae_key(name) for name in model.state_dict()]
    assert sorted(keys) == sorted(official_weights(model))


def test_detectron2s_vitdet_has_an_encoder_and_class_layers():
    cfg = LazyConfig.load(detectron2_config_file("common/models/mask_rcnn_vitdet.py")).model
    cfg.backbone.net.update(embed_dim=16, depth=1, num_heads=2, window_block_indexes=[])
    cfg.backbone.net.use_act_checkpoint = False
    model = instantiate(cfg)
    parts = parts_of(model)
    assert parts.encoder == "backbone.net" and not parts.decoder
    migrated = {parts.mae_key(name).split(".")[0] for name in model.state_dict()} - {""}
    assert migrated == {*ENCODER, "pyramid"} - {"cls_token"}
    assert set(parts.class_modules) == {"roi_heads.box_predictor", "roi_heads.mask_head.predictor"}


def test_a_model_of_neither_has_no_parts():
    parts = parts_of(torch.nn.Linear(1, 1))
    assert (parts.encoder, parts.decoder, parts.class_modules) == ("", "", ())

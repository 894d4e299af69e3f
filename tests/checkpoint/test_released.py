"""The layout of the detectors that imTED's authors released, from its documented names."""

import re

import pytest
import torch
from detectron2.config import instantiate

from imted.checkpoint import load_checkpoint
from imted.errors import UserError

# In the released file -> here, but for the blocks.
PLACES = {
    "backbone.cls_token": "backbone.net.cls_token",
    "backbone.pos_embed": "backbone.net.pos_embed",
    "backbone.patch_embed.proj": "backbone.net.patch_embed.proj",
    "backbone.fpn1.0": "backbone.simfp_2.0",
    "backbone.fpn1.1": "backbone.simfp_2.1",
    "backbone.fpn1.3": "backbone.simfp_2.3",
    "backbone.fpn2.0": "backbone.simfp_3.0",
    "neck.lateral_convs.0.conv": "backbone.simfp_2.4",
    "neck.lateral_convs.0.ln": "backbone.simfp_2.4.norm",
    "neck.lateral_convs.1.conv": "backbone.simfp_3.1",
    "neck.lateral_convs.1.ln": "backbone.simfp_3.1.norm",
    "neck.lateral_convs.2.conv": "backbone.simfp_4.0",
    "neck.lateral_convs.2.ln": "backbone.simfp_4.0.norm",
    "neck.lateral_convs.3.conv": "backbone.simfp_5.1",
    "neck.lateral_convs.3.ln": "backbone.simfp_5.1.norm",
    "neck.fpn_convs.0.conv": "backbone.simfp_2.5",
    "neck.fpn_convs.0.ln": "backbone.simfp_2.5.norm",
    "neck.fpn_convs.1.conv": "backbone.simfp_3.2",
    "neck.fpn_convs.1.ln": "backbone.simfp_3.2.norm",
    "neck.fpn_convs.2.conv": "backbone.simfp_4.1",
    "neck.fpn_convs.2.ln": "backbone.simfp_4.1.norm",
    "neck.fpn_convs.3.conv": "backbone.simfp_5.2",
    "neck.fpn_convs.3.ln": "backbone.simfp_5.2.norm",
    "rpn_head.rpn_conv": "proposal_generator.rpn_head.conv",
    "rpn_head.rpn_cls": "proposal_generator.rpn_head.objectness_logits",
    "rpn_head.rpn_reg": "proposal_generator.rpn_head.anchor_deltas",
    "roi_head.mfm_factor": "roi_heads.box_pooler.scale",
    "roi_head.mfm_fc": "roi_heads.box_pooler.projection",
    "roi_head.bbox_head.norm": "roi_heads.box_head.norm",
    "roi_head.bbox_head.decoder_embed": "roi_heads.box_head.decoder_embed",
    "roi_head.bbox_head.decoder_pos_embed": "roi_heads.box_head.decoder_pos_embed",
    "roi_head.bbox_head.decoder_box_norm": "roi_heads.box_head.box_norm",
    "roi_head.bbox_head.fc_cls": "roi_heads.box_predictor.cls_score",
    "roi_head.bbox_head.fc_reg": "roi_heads.box_predictor.bbox_pred",
    "roi_head.mask_head.convs.0.conv": "roi_heads.mask_head.mask_fcn1",
    "roi_head.mask_head.convs.1.conv": "roi_heads.mask_head.mask_fcn2",
    "roi_head.mask_head.convs.2.conv": "roi_heads.mask_head.mask_fcn3",
    "roi_head.mask_head.convs.3.conv": "roi_heads.mask_head.mask_fcn4",
    "roi_head.mask_head.upsample": "roi_heads.mask_head.deconv",
    "roi_head.mask_head.conv_logits": "roi_heads.mask_head.predictor",
}


@pytest.fixture
def small_released(small_released_config):
    """Build a released model, the same for the same seed."""

    def build(**kwargs):
        torch.manual_seed(0)
        return instantiate(small_released_config(**kwargs))

    return build


def place(name: str) -> str:
    """Where a released file's tensor belongs."""
    if "blocks" in name:
        name = name.replace("roi_head.bbox_head.", "roi_heads.box_head.")
        return re.sub(r"^backbone\.", "backbone.net.", name)
    if name in PLACES:
        return PLACES[name]
    module, leaf = name.rsplit(".", 1)
    return f"{PLACES[module]}.{leaf}"


def assert_refused(model, path, match):
    """The file is refused in one sentence, and the model stays as it was."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(UserError, match=match) as caught:
        load_checkpoint(model, path)
    assert path in str(caught.value) and "\n" not in str(caught.value)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("masks", [False, True])
def test_every_tensor_lands_where_it_belongs(small_released, released_file, masks):
    path, weights = released_file(masks)
    model = small_released(masks=masks)
    report = load_checkpoint(model, path)
    state = model.state_dict()
    assert {place(name) for name in weights} == state.keys()
    assert len(weights) == len(state)
    for name, value in weights.items():
        assert torch.equal(state[place(name)], value), name
    assert report.loaded == {place(name): name for name in weights}
    assert not report.fresh and not report.left_out and not report.adapted


def test_the_model_detects_with_what_was_loaded(small_released, released_file):
    path, _ = released_file(masks=True)
    model = small_released(masks=True)
    load_checkpoint(model, path)
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(3, 60, 90, generator=generator) * 255
    with torch.no_grad():
        instances = model.eval()([{"image": image, "height": 120, "width": 180}])[0]["instances"]
    assert len(instances) > 0
    assert instances.pred_masks.shape == (len(instances), 120, 180)


@pytest.mark.parametrize(
    ("file", "model", "match"),
    [
        (dict(masks=True), dict(), r"'roi_head\.mask_head\..*no place.*configs/released"),
        (dict(), dict(masks=True), r"is missing 'roi_heads\.mask_head\."),
        (dict(dim=64), dict(), r"another size.*\(64, .* in the file and \(32, .* in the model"),
        (dict(depth=4), dict(), r"another size.*'backbone\.blocks\.3\."),
        (dict(depth=2), dict(), r"is missing 'backbone\.net\.blocks\.2\."),
        (dict(classes=5), dict(), r"other classes.*fc_cls\.weight' is \(6, 16\).*\(4, 16\)"),
        (
            dict(drop="neck.fpn_convs.1.ln.bias"),
            dict(),
            r"missing 'backbone\.simfp_3\.2\.norm\.bias",
        ),
        ({"neck.top.weight": torch.zeros(2)}, dict(), r"'neck\.top\.weight', for which"),
        (
            dict(drop="roi_head.mfm_factor"),
            dict(),
            r"not imTED: 'roi_head\.mfm_factor' is",
        ),
    ],
    ids=["masks", "no masks", "width", "deeper", "shallower", "classes", "cut", "more", "no imTED"],
)
def test_what_does_not_fit_is_refused(small_released, released_file, file, model, match):
    path, _ = released_file(**file)
    assert_refused(small_released(**model), path, match)


def test_another_detector_of_mmdetection_is_refused(small_released, tmp_path):
    path = str(tmp_path / "retinanet.pth")
    weights = {"backbone.conv1.weight": torch.zeros(2), "bbox_head.retina_cls.bias": torch.zeros(2)}
    torch.save({"meta": {}, "state_dict": weights}, path)
    assert_refused(small_released(), path, "detector of mmdetection, but not imTED")


def test_other_configs_refuse_it(small_detector, small_mae, released_file):
    path, _ = released_file()
    assert_refused(small_detector(), path, "as imTED's authors released it.*configs/released")
    assert_refused(small_mae(), path, "differs from theirs")


def test_it_can_be_fine_tuned_on_other_classes(small_released, released_file):
    path, weights = released_file(classes=5)
    model = small_released()
    report = load_checkpoint(model, path, fine_tune=True)
    assert {name.split(".")[1] for name in report.fresh} == {"box_predictor"}
    assert len(report.loaded) == len(weights) - 4

import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig, instantiate
from detectron2.layers import ShapeSpec
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.roi_heads import FastRCNNConvFCHead
from detectron2.structures import BitMasks, Boxes, ImageList, Instances
from detectron2.utils.events import EventStorage
from torch.nn.functional import layer_norm

from imted.checkpoint import load_checkpoint
from imted.compat import detectron2_config_file
from imted.errors import UserError
from imted.modeling import VARIANTS, DecoderBoxHead, ModulatedPooler, parts

PYRAMID = ["p2", "p3", "p4", "p5"]
# variant: what the box branch reads, and the kind of box head
LADDER = {
    "baseline": (PYRAMID, FastRCNNConvFCHead),
    "decoder_head": (PYRAMID, DecoderBoxHead),
    "random_decoder_head": (PYRAMID, DecoderBoxHead),
    "integral": (["last_feat"], DecoderBoxHead),
    "random_integral": (["last_feat"], DecoderBoxHead),
    "imted": ([*PYRAMID, "last_feat"], DecoderBoxHead),
    "random_decoder": ([*PYRAMID, "last_feat"], DecoderBoxHead),
}
HEIGHT, WIDTH = 80, 104  # no multiples of 32: padded
BOXES = torch.tensor([[2.0, 3.0, 14.0, 12.0], [10.0, 10.0, 60.0, 70.0], [0.0, 0.0, 96.0, 96.0]])


@pytest.fixture(autouse=True)
def event_storage():
    """Where Detectron2's modules log to in training."""
    with EventStorage():
        yield


def make_image(boxes: list[list[float]], masks: bool, seed: int = 0) -> dict:
    generator = torch.Generator().manual_seed(seed)
    instances = Instances((HEIGHT, WIDTH))
    instances.gt_boxes = Boxes(torch.tensor(boxes).reshape(-1, 4))
    instances.gt_classes = torch.arange(len(boxes)) % 3
    if masks:
        bitmaps = torch.zeros(len(boxes), HEIGHT, WIDTH, dtype=torch.bool)
        for bitmap, (x0, y0, x1, y1) in zip(bitmaps, boxes, strict=True):
            bitmap[int(y0) : int(y1), int(x0) : int(x1)] = True
        instances.gt_masks = BitMasks(bitmaps)
    image = torch.randint(0, 256, (3, HEIGHT, WIDTH), generator=generator, dtype=torch.uint8)
    return {"image": image, "instances": instances, "height": HEIGHT, "width": WIDTH}


def make_batch(masks: bool, empty: bool = False) -> list[dict]:
    """One image with objects (unless empty) and one without any."""
    boxes = [] if empty else [[4.0, 6.0, 40.0, 50.0], [50.0, 10.0, 100.0, 70.0]]
    return [make_image(boxes, masks), make_image([], masks, seed=1)]


def random_features(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    sizes = {"p2": 24, "p3": 12, "p4": 6, "p5": 3}
    features = {n: torch.randn(1, 12, s, s, generator=generator) for n, s in sizes.items()}
    return {**features, "last_feat": torch.randn(1, 32, 6, 6, generator=generator)}


def predict(model, features: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """Class logits and box deltas of `BOXES`, which lie on different levels."""
    heads = model.roi_heads
    pooled = heads.box_pooler(list(heads.box_maps(features).values()), [Boxes(BOXES)])
    return heads.box_predictor(heads.box_head(pooled))


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_each_variant_reads(small_detector, variant):
    model = small_detector(variant).eval()
    heads = model.roi_heads
    reads, head = LADDER[variant]
    assert type(heads.box_head) is head
    assert isinstance(heads.box_pooler, ModulatedPooler) == (variant in ("imted", "random_decoder"))
    if isinstance(heads.box_pooler, ModulatedPooler):
        torch.nn.init.ones_(heads.box_pooler.scale)  # at zero it reads the encoder alone
    features = random_features()
    before, _ = predict(model, features)
    for names in (PYRAMID, ["last_feat"]):
        other = {**features, **{name: random_features(1)[name] for name in names}}
        changed = not torch.equal(predict(model, other)[0], before)
        assert changed == any(name in reads for name in names), names


def test_there_is_no_other_variant():
    assert set(VARIANTS) == set(LADDER)


def test_unknown_variant(small_detector_config, small_detector):
    with pytest.raises(
        UserError, match=r"variant='integrale' is not one of 'baseline'.*'random_decoder'"
    ):
        small_detector("integrale")


@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_imted_at_scale_zero_is_integral(small_detector, scale):
    imted = small_detector("imted").eval()
    assert not imted.roi_heads.box_pooler.scale.any()
    torch.nn.init.constant_(imted.roi_heads.box_pooler.scale, scale)
    integral = small_detector("integral", seed=1).eval()
    missing, left = integral.load_state_dict(imted.state_dict(), strict=False)
    assert not missing
    assert {key.rsplit(".", 2)[0] for key in left} <= {
        "roi_heads.box_pooler",
        "roi_heads",
    }
    for found, expected in zip(
        predict(imted, random_features()), predict(integral, random_features()), strict=True
    ):
        assert torch.equal(found, expected) == (scale == 0)


def detect(model, features: dict[str, torch.Tensor]) -> Instances:
    """What the heads make of `BOXES` as proposals."""
    proposals = Instances((96, 96))
    proposals.proposal_boxes = Boxes(BOXES)
    images = ImageList(torch.zeros(1, 3, 96, 96), [(96, 96)])
    with torch.no_grad():
        return model.roi_heads(images, features, [proposals])[0][0]


@pytest.mark.parametrize("variant", ["integral", "imted", "random_decoder"])
def test_encoders_norm_on_the_map(small_detector_config, small_detector, randomize, variant):
    """As if the encoder had given out a normed map, and the head had no norm."""
    plain = small_detector(variant).eval()
    randomize(plain.roi_heads.box_head).float()
    config = small_detector_config(variant)
    config.roi_heads.box_head.norm_rois = False
    normed = instantiate(config).eval()
    normed.load_state_dict(plain.state_dict())
    features = random_features()
    found, on_rois = detect(normed, features), detect(plain, features)

    norm, plain.roi_heads.box_head.norm = plain.roi_heads.box_head.norm, torch.nn.Identity()
    tokens = features["last_feat"].permute(0, 2, 3, 1)
    tokens = layer_norm(tokens, tokens.shape[-1:], norm.weight, norm.bias, norm.eps)
    expected = detect(plain, {**features, "last_feat": tokens.permute(0, 3, 1, 2)})
    assert len(found) > 0
    torch.testing.assert_close(found.pred_boxes.tensor, expected.pred_boxes.tensor)
    torch.testing.assert_close(found.scores, expected.scores)
    assert len(on_rois) != len(found) or not torch.allclose(on_rois.scores, found.scores)


def test_norm_on_the_map_needs_the_encoders_map(small_detector_config):
    config = small_detector_config("decoder_head")
    config.roi_heads.box_head.norm_rois = False
    with pytest.raises(UserError, match=r"norm_rois=False.*variant 'decoder_head' doesn't read"):
        instantiate(config)


def conv_head(config) -> None:
    """Let the box head be Detectron2's convolutions, in a config."""
    config.roi_heads.box_head = L(FastRCNNConvFCHead)(
        input_shape=L(ShapeSpec)(channels=32, height=7, width=7), conv_dims=[8], fc_dims=[24]
    )
    config.roi_heads.box_predictor.input_shape.channels = 24


@pytest.mark.parametrize("variant", ["imted", "integral"])
def test_a_head_of_ones_own_reads_what_the_variant_reads(small_detector_config, mae_file, variant):
    config = small_detector_config(variant)
    conv_head(config)
    model = instantiate(config)
    path, weights = mae_file()
    report = load_checkpoint(model, path)  # the encoder migrates, and there is no decoder
    assert {key for key in report.left_out if key.startswith("decoder_blocks.")}
    assert set(report.loaded.values()) == {
        key for key in weights if key.split(".")[0] in parts.ENCODER
    }
    assert model.roi_heads.box_in_features == LADDER[variant][0]
    losses = model(make_batch(masks=False))
    sum(losses.values()).backward()
    assert model.roi_heads.box_head.conv1.weight.grad.any()


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v not in ("imted", "integral")])
def test_variants_of_the_decoder_refuse_another_head(small_detector_config, variant):
    config = small_detector_config(variant)
    conv_head(config)
    with pytest.raises(UserError, match=rf"{variant}.*FastRCNNConvFCHead.*'imted' or 'integral'"):
        instantiate(config)


def test_a_pooler_of_ones_own(small_detector_config):
    config = small_detector_config("imted")
    config.roi_heads.box_pooler = L(ROIPooler)(
        output_size=7, scales=(1 / 16,), sampling_ratio=0, pooler_type="ROIAlignV2"
    )
    config.roi_heads.box_in_features = ["last_feat"]
    losses = instantiate(config)(make_batch(masks=False))
    assert all(torch.isfinite(loss) for loss in losses.values())
    config.roi_heads.variant = "integral"
    with pytest.raises(UserError, match=r"'integral'.*ROIPooler.*choose 'imted'"):
        instantiate(config)


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_trains_and_infers(small_detector, variant, masks):
    model = small_detector(variant, masks)
    losses = model(make_batch(masks))
    names = {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg"}
    assert set(losses) == names | ({"loss_mask"} if masks else set())
    assert all(torch.isfinite(loss) for loss in losses.values())
    sum(losses.values()).backward()

    trainable = {name: p.grad for name, p in model.named_parameters() if p.requires_grad}
    zero = {name for name, grad in trainable.items() if not grad.any()}
    projection = {f"roi_heads.box_pooler.projection.{kind}" for kind in ("weight", "bias")}
    assert zero == (projection if variant in ("imted", "random_decoder") else set())
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    decoder_head = LADDER[variant][1] is DecoderBoxHead
    assert frozen == ({"roi_heads.box_head.decoder_pos_embed"} if decoder_head else set())

    torch.optim.SGD(model.parameters(), lr=1e-4).step()
    model.eval()
    with torch.no_grad():
        outputs = model(
            [{k: v for k, v in x.items() if k != "instances"} for x in make_batch(masks)]
        )
    for output in outputs:
        instances = output["instances"]
        assert instances.image_size == (HEIGHT, WIDTH)
        assert len(instances) > 0
        assert instances.pred_classes.max() < 3
        assert instances.has("pred_masks") == masks
        if masks:
            assert instances.pred_masks.shape[1:] == (HEIGHT, WIDTH)


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_batch_without_objects_gives_every_parameter_a_gradient(small_detector, variant, masks):
    """Distributed training waits for the gradient of every parameter, a zero one included."""
    model = small_detector(variant, masks)
    losses = model(make_batch(masks, empty=True))
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert losses["loss_box_reg"] == 0
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert not parameter.requires_grad or torch.isfinite(parameter.grad).all(), name


@pytest.mark.parametrize("masks", [False, True])
def test_proposals_below_the_threshold_are_as_if_they_were_none(small_detector_config, masks):
    config = small_detector_config(masks=masks)
    config.roi_heads.test_objectness_thresh = 0.6
    torch.manual_seed(0)
    heads = instantiate(config).roi_heads
    image = ImageList.from_tensors([torch.zeros(3, 96, 96)])
    features = random_features()
    probability = torch.tensor([0.7, 0.61, 0.59])
    proposals = Instances((96, 96), proposal_boxes=Boxes(BOXES))
    proposals.objectness_logits = torch.log(probability / (1 - probability))
    heads.eval()
    with torch.no_grad():
        (found,), _ = heads(image, features, [proposals])
        heads.test_objectness_thresh = 0.0
        (expected,), _ = heads(image, features, [proposals[:2]])
        (others,), _ = heads(image, features, [proposals])
        heads.test_objectness_thresh = 1.0
        proposals.remove("objectness_logits")  # given by hand: nothing says that they are doubtful
        (by_hand,), _ = heads(image, features, [proposals])
    assert torch.equal(by_hand.pred_boxes.tensor, others.pred_boxes.tensor)
    assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)
    assert torch.equal(found.scores, expected.scores)
    assert len(others) > len(found) > 0
    if masks:
        assert torch.equal(found.pred_masks, expected.pred_masks)


@pytest.mark.parametrize("masks", [False, True])
def test_of_an_image_in_which_the_rpn_sees_nothing_the_best_proposal_is_read(
    small_detector_config, masks
):
    config = small_detector_config(masks=masks)
    config.roi_heads.test_objectness_thresh = 1.0
    config.roi_heads.box_predictor.test_score_thresh = 0.0
    model = instantiate(config)
    # Training learns from all proposals.
    losses = model(make_batch(masks))
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert losses["loss_cls"] > 0
    model.eval()
    with torch.no_grad():
        outputs = model(make_batch(masks))
        # And one without any area has no proposals at all.
        nothing = Instances((96, 96), proposal_boxes=Boxes(torch.zeros(0, 4)))
        nothing.objectness_logits = torch.zeros(0)
        heads, image = model.roi_heads, ImageList.from_tensors([torch.zeros(3, 96, 96)])
        (empty,), _ = heads(image, random_features(), [nothing])
    # A box for each of the classes, as the regressors are theirs.
    assert [len(output["instances"]) for output in outputs] == [3, 3]
    assert len(empty) == 0


def test_the_baselines_head_is_that_of_detectron2s_vitdet(small_detector):
    """Four convolutions with LayerNorm and one linear layer, as wide as this model's pyramid."""
    vitdet = LazyConfig.load(detectron2_config_file("common/models/mask_rcnn_vitdet.py")).model
    theirs = vitdet.roi_heads.box_head
    head = small_detector("baseline").roi_heads.box_head
    theirs.input_shape = ShapeSpec(channels=12, width=7, height=7)
    theirs.conv_dims = [12] * len(theirs.conv_dims)
    theirs.fc_dims = [head.output_shape.channels] * len(theirs.fc_dims)
    expected = instantiate(theirs)
    assert [(n, p.shape) for n, p in head.named_parameters()] == [
        (n, p.shape) for n, p in expected.named_parameters()
    ]

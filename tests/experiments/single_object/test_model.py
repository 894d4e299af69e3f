import copy

import pytest
import torch
from detectron2.structures import Boxes, Instances
from torch.nn.functional import layer_norm
from torchvision.ops import generalized_box_iou

from imted.errors import UserError
from imted.experiments.single_object import SingleObjectLocalizer
from imted.modeling import MAEEncoder

VARIANTS = ("encoder", "random_decoder", "pretrained_decoder")
ENCODER = dict(embed_dim=32, depth=2, num_heads=2, pretrain_img_size=64)
DECODER = dict(dim=16, depth=2, num_heads=4, grid_size=4)
SIDE = 64


@pytest.fixture
def build():
    """Build a small localizer, the same for the same seed."""

    def build(variant: str = "pretrained_decoder", **kwargs) -> SingleObjectLocalizer:
        torch.manual_seed(0)
        return SingleObjectLocalizer(
            encoder=MAEEncoder(**ENCODER),
            decoder=DECODER,
            num_classes=3,
            variant=variant,
            **{"pixel_mean": [120.0, 110.0, 100.0], "pixel_std": [50.0, 60.0, 70.0], **kwargs},
        )

    return build


@pytest.fixture
def batch() -> list[dict]:
    """Two images with one object each."""
    generator = torch.Generator().manual_seed(1)
    items = []
    for category, box in ((0, [8.0, 0.0, 24.0, 32.0]), (2, [0.0, 16.0, 64.0, 48.0])):
        instances = Instances((SIDE, SIDE))
        instances.gt_boxes = Boxes(torch.tensor([box]))
        instances.gt_classes = torch.tensor([category])
        image = torch.randint(0, 256, (3, SIDE, SIDE), generator=generator, dtype=torch.uint8)
        items.append({"image": image, "instances": instances, "height": 100, "width": 200})
    return items


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_reaches_every_parameter(build, batch, variant):
    model = build(variant)
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):  # the first one moves what starts at zero
        optimizer.zero_grad()
        losses = model(batch)
        sum(losses.values()).backward()
        optimizer.step()
    assert losses.keys() == {"loss_cls", "loss_box_l1", "loss_box_giou"}
    same = {name for name, value in model.state_dict().items() if torch.equal(value, before[name])}
    assert same == (set() if variant == "encoder" else {"box_head.decoder_pos_embed"})
    has_decoder = any(name.startswith("box_head.decoder_blocks.1.") for name in before)
    assert has_decoder == (variant != "encoder")


def test_losses_by_their_formulas(build, batch, randomize):
    model = randomize(build(l1_weight=3.0, giou_weight=4.0)).train()
    for item in batch:
        item["instances"].gt_boxes.tensor = item["instances"].gt_boxes.tensor.double()
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((120, 110, 100), (50, 60, 70)))
    images = torch.stack([(item["image"] - mean) / std for item in batch]).double()
    logits, boxes = model.predict(images)
    losses = model(batch)
    logs = logits - logits.exp().sum(1, keepdim=True).log()
    assert losses["loss_cls"].item() == pytest.approx(-(logs[0, 0] + logs[1, 2]).item() / 2)
    # Of the boxes above, in parts of the 64 pixels.
    truth = torch.tensor([[0.25, 0.25, 0.25, 0.5], [0.5, 0.5, 1.0, 0.5]])
    distance = (boxes - truth).abs().sum().item() / 2
    assert losses["loss_box_l1"].item() == pytest.approx(3 * distance, rel=1e-5)
    corners = [
        torch.cat([b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2], dim=1) for b in (boxes, truth)
    ]
    giou = generalized_box_iou(*corners).diagonal().mean().item()
    assert losses["loss_box_giou"].item() == pytest.approx(4 * (1 - giou), rel=1e-5)


def test_encoder_variant_is_norm_mean_norm(build, randomize):
    model = randomize(build("encoder"))
    images = torch.randn(2, 3, SIDE, SIDE, dtype=torch.float64)
    tokens = model.backbone["net"](images)["last_feat"].flatten(2).transpose(1, 2)
    head = model.box_head
    normed = layer_norm(tokens, (32,), head.norm.weight, head.norm.bias, head.norm.eps)
    vector = layer_norm(normed.mean(1), (32,), head.box_norm.weight, head.box_norm.bias, 1e-6)
    logits = vector @ model.class_logits.weight.T + model.class_logits.bias
    torch.testing.assert_close(model.predict(images)[0], logits.float())


def test_prediction_is_one_box_in_pixels_of_the_original_image(build, batch):
    model = build("encoder").eval()
    with torch.no_grad():
        model.box.weight.zero_()
        model.box.bias.copy_(torch.tensor([0.5, 0.25, 0.2, 0.5]).logit())
        model.class_logits.weight.zero_()
        model.class_logits.bias.copy_(torch.tensor([0.2, 0.7, 0.1]).log())
        outputs = model(batch)
    for output in outputs:
        instances = output["instances"]
        assert instances.image_size == (100, 200)
        box = instances.pred_boxes.tensor
        torch.testing.assert_close(box, torch.tensor([[80.0, 0.0, 120.0, 50.0]]))
        assert instances.pred_classes.tolist() == [1]
        torch.testing.assert_close(instances.scores, torch.tensor([0.7]))


def test_unknown_variant_is_named(build):
    with pytest.raises(UserError, match=r"variant='decoder' .*'encoder'"):
        build("decoder")

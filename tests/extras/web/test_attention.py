import numpy as np
import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads import FastRCNNConvFCHead
from detectron2.structures import Boxes, Instances

from imted.errors import UserError
from imted.extras.web.attention import (
    attention_weights,
    box_attention,
    decoder_attention,
    find_decoder,
)
from imted.modeling import DecoderBoxHead

DIM, DEPTH, HEADS, ENCODER_DIM = 16, 3, 4, 24


@pytest.fixture
def head(randomize):
    torch.manual_seed(0)
    return randomize(
        DecoderBoxHead(encoder_dim=ENCODER_DIM, dim=DIM, depth=DEPTH, num_heads=HEADS, grid_size=4)
    )


def random(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_weights_by_formula(head):
    """softmax(q k / sqrt(d)), one query, key and head at a time."""
    attention, tokens = head.decoder_blocks[0].attn, random(2, 5, DIM)
    found = attention_weights(attention, tokens).detach()
    assert found.shape == (2, HEADS, 5, 5)
    weight, bias = (x.detach().numpy() for x in (attention.qkv.weight, attention.qkv.bias))
    size = DIM // HEADS
    for r in range(2):
        qkv = tokens[r].numpy() @ weight.T + bias
        for h in range(HEADS):
            queries = qkv[:, h * size : (h + 1) * size]
            keys = qkv[:, DIM + h * size : DIM + (h + 1) * size]
            for i in range(5):
                powers = [np.exp(queries[i] @ keys[j] / size**0.5) for j in range(5)]
                np.testing.assert_allclose(found[r, h, i], np.array(powers) / sum(powers))


def test_weights_are_those_of_every_block_as_it_runs(head):
    """timm's own unfused attention hands its weights to a dropout, where they can be read."""
    rois = random(2, ENCODER_DIM, 7, 7)
    found = decoder_attention(head, rois)
    assert found.shape == (2, DEPTH, 49, 49)
    torch.testing.assert_close(found.sum(-1), torch.ones_like(found[..., 0]))
    seen = []
    for block in head.decoder_blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda *args: seen.append(args[2]))
    head(rois)
    torch.testing.assert_close(found, torch.stack([w.mean(dim=1) for w in seen], dim=1))


def test_the_head_is_as_it_was(head):
    rois = random(2, ENCODER_DIM, 7, 7)
    before = head(rois)
    decoder_attention(head, rois)
    assert torch.equal(head(rois), before)
    assert not any(block.attn._forward_pre_hooks for block in head.decoder_blocks)


def test_tokens_are_numbered_row_by_row(head):
    """Where all positions but one are alike, block 1 tells this one from the others."""
    torch.nn.init.zeros_(head.decoder_pos_embed)
    rois = random(1, ENCODER_DIM, 1, 1).repeat(1, 1, 3, 5)
    rois[:, :, 1, 2] = random(2, ENCODER_DIM)[1]
    first = decoder_attention(head, rois)[0, 0]
    odd = 1 * 5 + 2
    alike = [i for i in range(15) if i != odd]
    torch.testing.assert_close(first[alike], first[:1].expand(14, -1))
    assert (first[odd] - first[0]).abs().max() > 1e-3
    assert (first[:, alike].std(dim=1) < 1e-9).all() and (first[:, odd] != first[:, 0]).all()


@pytest.mark.parametrize("variant", ["imted", "integral", "decoder_head"])
def test_boxes_of_the_images_own_size(small_detector, variant):
    """The weights are those of the boxes that the detector's second stage gets, after a resize."""
    model = small_detector(variant).eval()
    with torch.no_grad():
        for parameter in model.roi_heads.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    image = torch.randint(256, (3, 96, 64), generator=torch.Generator().manual_seed(0))
    own = torch.tensor([[3.0, 6.0, 60.0, 90.0], [0.0, 0.0, 128.0, 144.0]])
    resized = Boxes(own * torch.tensor([0.5, 96 / 144] * 2))
    inputs = {"image": image, "height": 144, "width": 128}
    found = box_attention(model, inputs, own)

    instances = Instances((96, 64), pred_boxes=resized, pred_classes=torch.zeros(2).long())
    pooled = []
    hook = model.roi_heads.box_head.register_forward_pre_hook(lambda _, x: pooled.append(x[0]))
    images = model.preprocess_image([inputs])
    instances.proposal_boxes, instances.objectness_logits = resized, torch.zeros(2)
    with torch.no_grad():
        model.roi_heads(images, model.backbone(images.tensor), [instances], None)
    hook.remove()
    torch.testing.assert_close(found, decoder_attention(model.roi_heads.box_head, pooled[0]))


def test_no_boxes(small_detector):
    inputs = {"image": torch.zeros(3, 64, 64), "height": 64, "width": 64}
    assert box_attention(small_detector().eval(), inputs, torch.zeros(0, 4)).shape == (0, 2, 49, 49)


def test_a_detector_without_decoder(small_detector):
    with pytest.raises(UserError, match="is a FastRCNNConvFCHead, not a MAE decoder"):
        find_decoder(small_detector("baseline"))
    with pytest.raises(UserError, match="not a MAE decoder"):
        find_decoder(FastRCNNConvFCHead(ShapeSpec(channels=4, height=7, width=7), conv_dims=[4],
                                        fc_dims=[]))  # fmt: skip

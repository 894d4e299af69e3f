import pytest
import torch
from detectron2.layers import paste_masks_in_image


def image(height: int, width: int, seed: int) -> dict:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (3, height, width), generator=generator).float()
    return {"image": pixels, "height": 2 * height, "width": 2 * width}


def test_what_is_found_in_an_image_does_not_depend_on_the_others_of_its_batch(small_detector):
    """The second and the fourth image have one size, and go through the model together."""
    model = small_detector().eval()
    model.roi_heads.box_predictor.test_score_thresh = 0.0
    sizes = ((96, 64), (64, 128), (80, 80), (64, 128))
    inputs = [image(*size, seed) for seed, size in enumerate(sizes)]
    with torch.no_grad():
        together = [found["instances"] for found in model(inputs)]
        alone = [model([item])[0]["instances"] for item in inputs]
        plain = model.inference(inputs, do_postprocess=False)
    for batched, single, item in zip(together, alone, inputs, strict=True):
        assert len(batched) == len(single) > 10
        assert batched.image_size == (item["height"], item["width"])
        torch.testing.assert_close(batched.scores, single.scores, rtol=0, atol=1e-5)
    assert [found.image_size for found in plain] == list(sizes)
    # Boxes that are given, of which only the classes' scores are asked.
    with torch.no_grad():
        given = model.inference(inputs, [found[:3] for found in plain], do_postprocess=False)
    for found, asked in zip(given, plain, strict=True):
        assert torch.equal(found.pred_boxes.tensor, asked[:3].pred_boxes.tensor)


@pytest.mark.parametrize("number", [1, 3])
def test_masks_of_half_precision_are_pasted_in_full(small_detector, number):
    """At places that are rounded to bfloat16, 1 of 100 pixels of a disc would be another."""
    model = small_detector(masks=True).eval()
    model.roi_heads.box_predictor.test_score_thresh = 0.0
    inputs = [image(96, 64, seed) for seed in range(number)]
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = model.inference(inputs, do_postprocess=False)
        pasted = [result["instances"] for result in model(inputs)]
    for instances, result in zip(found, pasted, strict=True):
        assert instances.pred_masks.dtype is torch.float32
        assert torch.equal(instances.pred_masks, instances.pred_masks.bfloat16().float())
        boxes = instances.pred_boxes.clone()
        boxes.scale(2, 2)
        boxes.clip(result.image_size)
        kept = boxes.nonempty()
        expected = paste_masks_in_image(
            instances.pred_masks[kept, 0], boxes[kept], result.image_size
        )
        assert torch.equal(expected, result.pred_masks)

import random

import detectron2.data.transforms as T
import numpy as np
import pytest
from detectron2.config import instantiate
from detectron2.data import DatasetMapper
from PIL import Image

from imted.data.augmentation import ScaleJitter, build_augmentations
from imted.data.train_loader import build_train_loader
from imted.errors import UserError
from imted.model_zoo import get_config

NAMED = ["detr", "large_scale_jitter", "strong"]


def record(tmp_path, height, width, box):
    """Write a dark image with one bright rectangle; return it as Detectron2 has it."""
    x0, y0, x1, y1 = box
    pixels = np.full((height, width, 3), 10, np.uint8)
    pixels[y0:y1, x0:x1] = 200
    path = tmp_path / f"{height}x{width}.png"
    Image.fromarray(pixels).save(path)
    truth = {
        "bbox": [*box],
        "bbox_mode": 0,
        "category_id": 0,
        "segmentation": [[x0, y0, x1, y0, x1, y1, x0, y1]],
    }
    return {
        "file_name": str(path),
        "height": height,
        "width": width,
        "image_id": 1,
        "annotations": [truth],
    }


def samples(augmentation, dataset, count, **mapper):
    own = [T.ResizeShortestEdge((160, 200), sample_style="choice", max_size=300)]
    settings = {"use_instance_mask": True, "instance_mask_format": "bitmask", **mapper}
    mapper = DatasetMapper(True, augmentations=own, image_format="RGB", **settings)
    loader = build_train_loader(dataset, mapper, 1, seed=3, augmentation=augmentation)
    return [batch[0] for _, batch in zip(range(count), loader, strict=False)]


@pytest.mark.parametrize("name", NAMED)
@pytest.mark.parametrize("masks", [True, False])
def test_boxes_and_masks_stay_on_the_object(tmp_path, name, masks):
    dataset = [record(tmp_path, 120, 180, (40, 30, 100, 90))]
    seen = 0
    for sample in samples(name, dataset, 40, use_instance_mask=masks):
        bright = sample["image"].float().mean(0).numpy()
        bright = bright > (bright.min() + bright.max()) / 2
        boxes = sample["instances"].gt_boxes.tensor.numpy()
        if not len(boxes) or sample["instances"].image_size[0] < 40:
            continue  # cropped away, or so small that a pixel of the resizing is much of it
        rows, columns = np.nonzero(bright.any(1))[0], np.nonzero(bright.any(0))[0]
        expected = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
        if bright.all() or not bright.any():
            continue  # the crop is inside of the object
        np.testing.assert_allclose(boxes[0], expected, atol=3)
        if masks:
            mask = sample["instances"].gt_masks.tensor[0].numpy()
            assert (mask != bright).mean() < 0.05
        seen += 1
    assert seen > 15


def test_detr_is_what_the_config_for_coco_has_itself():
    own = get_config("coco/imted_mask_rcnn_vit_base_3x.py").dataloader.train.mapper.augmentations
    own = instantiate(own)
    named = build_augmentations("detr", own)
    pixels = np.random.default_rng(0).integers(0, 256, (427, 640, 3), dtype=np.uint8)

    def drawn(augmentations, seed):
        np.random.seed(seed)
        random.seed(seed)
        given = T.AugInput(pixels.copy())
        T.AugmentationList(augmentations)(given)
        return given.image

    shapes = set()
    for seed in range(12):
        one, other = drawn(own, seed), drawn(named, seed)
        np.testing.assert_array_equal(one, other)
        shapes.add(one.shape)
    assert len(shapes) > 4


def test_large_scale_jitter_has_vitdets_sizes():
    """0.1 to 2 times the image fitted into 1024 x 1024, nothing beyond 1024, for 800 / 1333."""
    own = [T.ResizeShortestEdge((480, 800), sample_style="range", max_size=1333)]
    augmentations = build_augmentations("large_scale_jitter", own)
    sides = []
    for seed in range(200):
        np.random.seed(seed)
        given = T.AugInput(np.zeros((300, 600, 3), np.uint8))
        T.AugmentationList(augmentations)(given)
        sides.append(given.image.shape[:2])
    heights, widths = np.array(sides).T
    assert widths.min() == pytest.approx(0.1 * 1024, rel=0.2) and widths.max() == 1024
    # At twice the size the image is 1024 high: the crop takes all of it.
    assert heights.max() == pytest.approx(1024, rel=0.03)
    # A scale of 0.5 or less is a fifth and more of all: 0.4 / 1.9.
    assert np.mean(widths <= 512) == pytest.approx(0.4 / 1.9, abs=0.08)


def test_jitter_is_detectron2s_but_for_narrow_images():
    for height, width in ((300, 600), (97, 31)):
        for seed in range(20):
            image = np.zeros((height, width, 3), np.uint8)
            np.random.seed(seed)
            expected = T.ResizeScale(0.1, 2.0, 1024, 1024).get_transform(image)
            np.random.seed(seed)
            found = ScaleJitter(1024, 0.1, 2.0).get_transform(image)
            assert (found.new_h, found.new_w) == (expected.new_h, expected.new_w)
    narrow = ScaleJitter(1024, 0.1, 0.1).get_transform(np.zeros((4, 9000, 3), np.uint8))
    assert (narrow.new_h, narrow.new_w) == (1, 102)


def test_strong_changes_the_light_alone_where_it_does_not_crop(tmp_path):
    dataset = [record(tmp_path, 120, 180, (40, 30, 100, 90))]
    largest = {int(s["image"].max()) for s in samples("strong", dataset, 20)}
    assert len(largest) > 10
    assert {int(s["image"].max()) for s in samples("large_scale_jitter", dataset, 20)} == {200}


def test_default_leaves_the_mapper_alone(tmp_path):
    dataset = [record(tmp_path, 120, 180, (40, 30, 100, 90))]
    for sample in samples("default", dataset, 5):
        assert min(sample["image"].shape[1:]) in (160, 200)


def test_what_cannot_be_named(tmp_path):
    resize = T.ResizeShortestEdge(100, max_size=200)
    with pytest.raises(UserError, match="\"mosaic\"; it must be 'default' or 'detr' or"):
        build_augmentations("mosaic", [resize])
    with pytest.raises(UserError, match="takes its sizes from a ResizeShortestEdge"):
        build_augmentations("strong", [T.RandomFlip()])
    with pytest.raises(UserError, match=r"needs Detectron2's DatasetMapper .* not function"):
        build_train_loader([{"id": 1}], lambda sample: sample, 1, augmentation="strong")

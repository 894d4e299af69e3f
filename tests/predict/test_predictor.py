import copy
import json

import numpy as np
import pytest
import torch
from detectron2.data import DatasetMapper, detection_utils
from detectron2.utils.visualizer import Visualizer
from PIL import Image

from imted.errors import UserError
from imted.predict import Detections, Predictor, load_run
from imted.training.evaluate import do_test


@pytest.fixture
def predictor(detector_run):
    return Predictor(str(detector_run()))


def pixels(seed=0, height=70, width=80):
    generator = np.random.default_rng(seed)
    return generator.integers(256, size=(height, width, 3), dtype=np.uint8)


def assert_equal(one, two):
    assert torch.equal(one.pred_boxes.tensor, two.pred_boxes.tensor)
    assert torch.equal(one.scores, two.scores)
    assert torch.equal(one.pred_masks, two.pred_masks)


@pytest.mark.parametrize("masks", [True, False])
def test_it_says_what_the_evaluation_says(detector_run, tmp_path, masks):
    folder = detector_run(masks=masks)
    loaded = load_run(str(folder))
    do_test(loaded.run.with_test_set(), loaded.model)
    expected = json.loads((folder / "inference/coco_instances_results.json").read_text())
    predictor = Predictor(str(folder))
    found = [
        result
        for key in (1, 4)
        for result in predictor(tmp_path / f"images/{key}.png").to_coco(key)
    ]
    assert len(expected) > 50
    assert json.loads(json.dumps(found)) == expected


def test_all_kinds_of_input_are_one_image(predictor, tmp_path):
    rgb = pixels()
    Image.fromarray(rgb).save(tmp_path / "image.png")
    of_path = predictor(str(tmp_path / "image.png"))
    assert isinstance(of_path, Detections) and len(of_path) > 5
    assert_equal(predictor(rgb[:, :, ::-1]), of_path)  # BGR, as Detectron2's DefaultPredictor
    assert_equal(predictor(Image.fromarray(rgb)), of_path)
    assert_equal(predictor([tmp_path / "image.png"])[0], of_path)


def test_exif_orientation_is_applied(predictor, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.fromarray(pixels()).save(tmp_path / "turned.png", exif=exif)
    expected = detection_utils.read_image(str(tmp_path / "turned.png"), "BGR")
    assert expected.shape == (80, 70, 3)
    assert_equal(predictor(tmp_path / "turned.png"), predictor(expected))
    assert_equal(predictor(Image.open(tmp_path / "turned.png")), predictor(expected))


def test_the_input_is_that_of_detectron2s_mapper(predictor, tmp_path):
    path = str(tmp_path / "images/4.png")
    mapper = DatasetMapper(
        False, augmentations=[predictor._augmentations], image_format=predictor.model.input_format
    )
    ours, theirs = predictor.preprocess(path), mapper({"file_name": path})
    assert torch.equal(ours["image"], theirs["image"])
    assert ours["image"].shape == (3, 96, 64)
    assert (ours["height"], ours["width"]) == (150, 100)


def test_a_list_gives_a_list_in_its_order(detector_run):
    folder = str(detector_run())
    images = [pixels(0), pixels(1, 50, 90), pixels(2), pixels(3, 50, 90), pixels(4)]
    together = Predictor(folder, batch_size=3)(images)
    alone = Predictor(folder)
    for detections, image in zip(together, images, strict=True):
        expected = alone(image)
        assert detections.image_size == image.shape[:2]
        torch.testing.assert_close(detections.pred_boxes.tensor, expected.pred_boxes.tensor)
    assert Predictor(folder)([]) == []


def test_the_threshold(detector_run):
    folder = str(detector_run())
    every = Predictor(folder)(pixels())
    least = every.scores.median().item()
    some = Predictor(folder, threshold=least)(pixels())
    assert len(some) == int((every.scores >= least).sum()) < len(every)


def test_detections_stay_detections_and_know_their_names(predictor):
    detections = predictor(pixels())
    most = int(detections.pred_classes.mode().values)
    chosen = detections[detections.pred_classes == most].to("cpu")
    assert len(chosen) and set(chosen.names) == {("ant", "bee", "cat")[most]}
    results = chosen.to_coco(image_id=9)
    assert {result["category_id"] for result in results} == {(2, 5, 7)[most]}
    assert {result["image_id"] for result in results} == {9}
    box = chosen.pred_boxes.tensor[0].tolist()
    width, height = box[2] - box[0], box[3] - box[1]
    assert results[0]["bbox"] == pytest.approx([box[0], box[1], width, height])


def test_detectron2_draws_them(predictor):
    detections = predictor(pixels())
    drawn = Visualizer(pixels(), predictor.metadata).draw_instance_predictions(detections)
    assert drawn.get_image().shape == (70, 80, 3)


def test_prediction_leaves_the_image_and_the_model_alone(predictor):
    image, before = pixels(), copy.deepcopy(predictor.model.state_dict())
    first = predictor(image)
    assert np.array_equal(image, pixels())
    assert_equal(predictor(image), first)
    assert all(torch.equal(before[k], v) for k, v in predictor.model.state_dict().items())


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((5, 5), np.uint8),
        np.zeros((5, 5, 4), np.uint8),
        np.zeros((5, 5, 3), np.float32),
        np.zeros((0, 5, 3), np.uint8),
    ],
)
def test_arrays_that_are_no_images(predictor, image):
    with pytest.raises(UserError, match="must be an array"):
        predictor(image)


def test_files_that_are_no_images(predictor, tmp_path):
    (tmp_path / "text.jpg").write_text("no image")
    Image.fromarray(pixels()).save(tmp_path / "whole.jpg")
    content = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "torn.jpg").write_bytes(content[: len(content) // 2])
    for name in ("text.jpg", "torn.jpg", "absent.jpg"):
        with pytest.raises(UserError, match=f"{name} can't be read as an image"):
            predictor(tmp_path / name)


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"threshold": 1.5}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"tile": 64, "overlap": 64}, "overlap"),
        ({"tile": -1}, "Tiles"),
        ({"batch_size": 0}, "batch_size"),
    ],
)
def test_numbers_out_of_range(detector_run, settings, word):
    with pytest.raises(UserError, match=word):
        Predictor(str(detector_run()), **settings)


def test_tiles_give_runs_of_masks_at_the_images_size(detector_run):
    folder = str(detector_run())
    image = pixels(0, 120, 200)
    detections = Predictor(folder, tile=96, overlap=32)(image)
    assert detections.image_size == (120, 200)
    assert detections.scores.tolist() == sorted(detections.scores.tolist(), reverse=True)
    results = detections.to_coco(1)
    assert len(results) == len(detections) and results[0]["segmentation"]["size"] == [120, 200]
    assert len(detections[:3]) == 3
    assert Predictor(folder, tile=96, overlap=32).preprocess(image)["image"].shape == (3, 58, 96)
    whole = Predictor(folder, tile=200)(image)  # as large as the image: no tiles
    assert_equal(whole, Predictor(folder)(image))


@pytest.mark.slow
def test_it_starts_and_predicts_without_torchs_compiler(detector_run, new_python):
    script = """
import sys, imted, numpy, torch
imted.Predictor(sys.argv[1])(numpy.zeros((70, 80, 3), numpy.uint8))
print(*sorted({"torch._dynamo", "scipy.optimize", "hydra"} & set(sys.modules)))
# Whoever compiles has the compiler, and what was marked as not for it is left alone.
from torchvision.ops import roi_align
from torchvision.transforms.v2 import functional
image, box = torch.arange(64.0).view(1, 1, 8, 8), torch.tensor([[0, 0, 0, 4, 4.0]])
pool = lambda image, box: roi_align(functional.horizontal_flip(image), box, 2) + 1
print(torch.equal(torch.compile(pool, backend="eager")(image, box), pool(image, box)))
"""
    done = new_python("-c", script, detector_run())
    assert done.stdout.split("\n")[:2] == ["", "True"], done.stderr

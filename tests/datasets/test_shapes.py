"""The synthetic data set: its truth is exact, its files depend on the seed alone."""

import colorsys
import json

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from imted.errors import UserError
from synthetic import dataset as shapes_dataset
from synthetic.dataset import scene_at, write_split
from synthetic.shapes import CLASS_NAMES, ShapesOptions

SCRIPT = "datasets/prepare_shapes.py"
FEW_IMAGES = ["--train-images=2", "--val-images=1", "--image-size=64", "--workers=1"]
OPTIONS = ShapesOptions(image_size=192)
SMALL = ShapesOptions(image_size=96)
SEED, NUM_IMAGES = 3, 300


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    output = tmp_path_factory.mktemp("shapes")
    return COCO(str(write_split(output, "train", NUM_IMAGES, SEED, OPTIONS)))


@pytest.fixture(scope="module")
def scenes():
    return [scene_at(SEED, "train", index, OPTIONS) for index in range(1, 61)]


def flood_fill_count(mask):
    """Count 8-connected components by hand."""
    left = set(zip(*np.nonzero(mask), strict=True))
    count = 0
    while left:
        count += 1
        front = [left.pop()]
        while front:
            row, column = front.pop()
            near = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            front.extend(near)
    return count


def read_folder(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.jpg"))}


def test_painting_full_masks_back_to_front_gives_the_visible_masks(scenes):
    for scene in scenes:
        nearest = np.full((192, 192), -1)
        for number, instance in enumerate(scene.instances):
            nearest[instance.full] = number
        for number, instance in enumerate(scene.instances):
            np.testing.assert_array_equal(instance.visible, nearest == number)


@pytest.mark.slow
def test_annotations_state_what_the_masks_show(data, scenes):
    checked = 0
    for image_id, scene in enumerate(scenes, 1):
        annotations = data.imgToAnns[image_id]
        assert len(annotations) == len(scene.instances)
        for annotation, instance in zip(annotations, scene.instances, strict=True):
            mask = data.annToMask(annotation).astype(bool)
            np.testing.assert_array_equal(mask, instance.visible)
            for key, region in (("bbox", mask), ("full_bbox", instance.full)):
                rows, columns = np.nonzero(region)
                size = np.ptp(columns) + 1, np.ptp(rows) + 1
                assert annotation[key] == [columns.min(), rows.min(), *size]
            assert annotation["area"] == mask.sum()
            hidden = 1.0 - mask.sum() / instance.full.sum()
            assert annotation["occlusion_ratio"] == pytest.approx(hidden, abs=1e-6)
            assert annotation["visible_parts"] == flood_fill_count(mask)
            assert data.cats[annotation["category_id"]]["name"] == CLASS_NAMES[instance.category]
            assert annotation["iscrowd"] == instance.crowd
            checked += 1
    assert checked > 150


@pytest.mark.slow
def test_objects_stay_visible_and_boxes_inside(data):
    for annotation in data.dataset["annotations"]:
        left, top, width, height = annotation["bbox"]
        assert left >= 0 and top >= 0 and left + width <= 192 and top + height <= 192
        if not annotation["iscrowd"]:
            assert annotation["area"] >= 40
            assert annotation["occlusion_ratio"] <= 0.75


@pytest.mark.slow
def test_everything_promised_occurs(data):
    annotations = data.dataset["annotations"]
    objects = [annotation for annotation in annotations if not annotation["iscrowd"]]
    crowds = len(annotations) - len(objects)
    empty = sum(not data.imgToAnns[image_id] for image_id in data.getImgIds())
    cut = [a for a in objects if a["visible_parts"] > 1 and a["occlusion_ratio"] > 0]
    covered = [a for a in objects if a["visible_parts"] == 1 and a["occlusion_ratio"] > 0.1]
    assert 0.01 * NUM_IMAGES <= empty <= 0.08 * NUM_IMAGES
    assert 0.01 * NUM_IMAGES <= crowds <= 0.12 * NUM_IMAGES
    assert len(cut) >= 0.1 * len(objects) and len(covered) >= 0.1 * len(objects)
    assert sum(a["area"] < 32**2 for a in objects) >= 0.3 * len(objects)
    assert sum(a["area"] > 96**2 for a in objects) >= 3
    for category in data.getCatIds():
        assert sum(a["category_id"] == category for a in objects) >= 0.1 * len(objects)


def test_a_whole_ring_has_a_hole_and_is_one_part(scenes):
    margin = np.zeros((192, 192), bool)
    margin[1:-1, 1:-1] = True
    rings = [
        instance
        for scene in scenes
        for instance in scene.instances
        if CLASS_NAMES[instance.category] == "ring"
        and not instance.crowd
        and instance.occlusion_ratio == 0.0
        and not (instance.full & ~margin).any()
    ]
    assert len(rings) >= 5
    for ring in rings:
        around = cv2.connectedComponents((~ring.full).astype(np.uint8), connectivity=4)[0] - 1
        assert (ring.visible_parts, around) == (1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_truth_evaluated_against_itself_has_ap_1(data, kind, capsys):
    truth = [
        {key: annotation[key] for key in ("image_id", "category_id", "bbox", "segmentation")}
        for annotation in data.dataset["annotations"]
        if not annotation["iscrowd"]
    ]
    evaluation = COCOeval(data, data.loadRes([{**one, "score": 1.0} for one in truth]), kind)
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert evaluation.stats[0] == pytest.approx(1.0)
    assert list(evaluation.stats[3:6]) == pytest.approx([1.0] * 3)  # small, medium, large


@pytest.mark.slow
def test_same_seed_same_bytes_whatever_the_count_and_the_workers(tmp_path):
    short = write_split(tmp_path / "short", "val", 4, SEED, SMALL)
    again = write_split(tmp_path / "again", "val", 4, SEED, SMALL, workers=2)
    longer = write_split(tmp_path / "longer", "val", 7, SEED, SMALL)
    images = read_folder(tmp_path / "short" / "val")
    assert len(images) == 4
    assert images == read_folder(tmp_path / "again" / "val")
    assert short.read_bytes() == again.read_bytes()
    assert images.items() <= read_folder(tmp_path / "longer" / "val").items()
    first, more = (json.loads(path.read_text())["annotations"] for path in (short, longer))
    assert first == more[: len(first)]


def test_seed_and_split_change_every_image(tmp_path):
    folders = []
    for seed, split in ((0, "train"), (1, "train"), (0, "val"), (0, "pretrain")):
        write_split(tmp_path / str(seed), split, 3, seed, SMALL)
        folders.append(read_folder(tmp_path / str(seed) / split))
    assert len({content for folder in folders for content in folder.values()}) == 12


def test_interrupted_run_leaves_no_json_and_can_be_repeated(tmp_path, monkeypatch):
    annotations = write_split(tmp_path, "train", 3, SEED, SMALL)
    before = annotations.read_bytes()
    with monkeypatch.context() as patch:

        def stop_at_second(seed, split, index, options):
            if index == 2:
                raise KeyboardInterrupt
            return scene_at(seed, split, index, options)

        patch.setattr(shapes_dataset, "scene_at", stop_at_second)
        with pytest.raises(KeyboardInterrupt):
            write_split(tmp_path, "train", 3, SEED, SMALL)
    assert not annotations.exists()
    write_split(tmp_path, "train", 3, SEED, SMALL)
    assert annotations.read_bytes() == before


@pytest.mark.parametrize(
    ("num_images", "seed", "options"),
    [(2, 0, SMALL), (3, 1, SMALL), (3, 0, ShapesOptions(image_size=64))],
    ids=["count", "seed", "size"],
)
def test_output_of_other_options_is_kept(tmp_path, num_images, seed, options):
    annotations = write_split(tmp_path, "train", 3, 0, SMALL)
    before = annotations.read_bytes()
    with pytest.raises(UserError, match=r"train\.json .*--output"):
        write_split(tmp_path, "train", num_images, seed, options)
    assert annotations.read_bytes() == before


def test_images_of_somebody_else_are_kept(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "holiday.jpg").write_bytes(b"mine")
    with pytest.raises(UserError, match=r"holiday\.jpg.*--output"):
        write_split(tmp_path, "train", 3, 0, SMALL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--image-size", "100"], "image_size is 100"),
        (["--image-size", "48"], "image_size is 48"),
        (["--val-images", "-1"], "val images is -1"),
        (["--seed", "-1"], "seed is -1"),
        (["--workers", "0"], "workers is 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_the_command_reports_an_error_in_one_line(
    load_script, tmp_path, capsys, arguments, message
):
    prepare = load_script(SCRIPT).main
    assert prepare([*FEW_IMAGES, "--output", str(tmp_path / "out"), *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and message in line
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_command_writes_what_it_says(shell, tmp_path):
    more = ["--output", str(tmp_path), "--val-images", "0", "--pretrain-images", "2"]
    result = shell(SCRIPT, *FEW_IMAGES, *more)
    assert result.returncode == 0, result.stderr
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"pretrain", "pretrain.json", "train", "train.json"}
    info = json.loads((tmp_path / "pretrain.json").read_text())["info"]
    assert (info["seed"], info["split"], info["num_images"]) == (0, "pretrain", 2)


def test_class_colours_give_each_class_its_hue():
    options = ShapesOptions(class_colours=True, crowd_fraction=0.0)
    seen = set()
    for index in range(1, 41):
        scene = scene_at(0, "train", index, options)
        for instance in scene.instances:
            core = cv2.erode(instance.visible.view(np.uint8), np.ones((9, 9), np.uint8)) > 0
            if np.count_nonzero(core) < 50:
                continue
            red, green, blue = scene.image[core].mean(axis=0) / 255.0
            distance = (colorsys.rgb_to_hsv(red, green, blue)[0] - instance.category / 6) % 1.0
            assert min(distance, 1.0 - distance) < 1 / 12
            seen.add(instance.category)
    assert seen == set(range(6))


def test_min_object_bounds_the_size():
    options = ShapesOptions(min_object=0.3, crowd_fraction=0.0, cut_fraction=0.0)
    smallest_disc = np.pi / 4 * (0.3 * options.image_size) ** 2
    areas = [
        np.count_nonzero(instance.full)
        for index in range(1, 41)
        for instance in scene_at(0, "train", index, options).instances
        if instance.category == 0
    ]
    # Up to 30 % of a shape may lie outside the image.
    assert areas
    assert min(areas) >= 0.69 * smallest_disc


def test_the_command_writes_where_detectron2_looks(default_output):
    assert default_output("datasets/prepare_shapes.py") == "shapes"

import json
from pathlib import Path

import numpy as np
import pytest
from detectron2.data import Metadata
from detectron2.structures import BoxMode
from paths import ROOT
from PIL import Image

from imted.errors import UserError
from imted.visualization.drawing import draw_annotations, draw_predictions, load_predictions

TOOL = ROOT / "tools/visualize_data.py"
GREY = 128
BOX = [20, 20, 40, 40]
NUM_IMAGES = 4

CONFIG = """
from detectron2.config import LazyCall as L
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from imted.data.dataset import CocoDataset
from imted.data.dataset import dataset_dicts
from imted.data.train_loader import build_train_loader

model, optimizer, lr_multiplier = {}, {}, {}
train = {"output_dir": "", "seed": 0}
dataset = L(CocoDataset)(train_json="", train_images="", val_json="", val_images="",
                        output_dir="${train.output_dir}")
dataloader = {
    "train": L(build_train_loader)(
        dataset=L(dataset_dicts)(names="custom_train", source="${dataset}"),
        mapper=L(DatasetMapper)(
            is_train=True,
            augmentations=[L(T.Resize)(shape=(50, 60))],
            image_format="BGR",
        ),
        total_batch_size=2,
        num_workers=2,
    )
}
"""


@pytest.fixture
def data(tmp_path):
    """Grey images of 100 x 80, each with one box of the second of two classes."""
    (tmp_path / "images").mkdir()
    for key in range(1, NUM_IMAGES + 1):
        Image.new("RGB", (100, 80), (GREY,) * 3).save(tmp_path / f"images/{key}.png")
    truth = {
        "images": [
            {"id": key, "file_name": f"{key}.png", "width": 100, "height": 80}
            for key in range(1, NUM_IMAGES + 1)
        ],
        "annotations": [
            {"id": k, "image_id": k, "category_id": 9, "bbox": BOX, "area": 1600, "iscrowd": 0}
            for k in range(1, NUM_IMAGES + 1)
        ],
        "categories": [{"id": 4, "name": "ant"}, {"id": 9, "name": "bee"}],
    }
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    results = [{"image_id": 1, "category_id": 9, "bbox": BOX, "score": 0.75}]
    (tmp_path / "results.json").write_text(json.dumps(results))
    return tmp_path


@pytest.fixture
def record(data):
    annotation = {"bbox": BOX, "bbox_mode": BoxMode.XYWH_ABS, "category_id": 1}
    return {"file_name": str(data / "images/1.png"), "image_id": 1, "annotations": [annotation]}


@pytest.fixture
def metadata():
    return Metadata(thing_classes=["ant", "bee"], thing_dataset_id_to_contiguous_id={4: 0, 9: 1})


@pytest.fixture
def tool(load_script):
    return load_script("tools/visualize_data.py")


def truth_arguments(data):
    return ["--json", str(data / "truth.json"), "--images", str(data / "images"),
            "--output-dir", str(data / "out")]  # fmt: skip


def painted(picture):
    """Pixels that are clearly not the images' grey."""
    return (np.abs(picture.astype(int) - GREY) > 40).any(axis=2)


def test_the_box_is_drawn_where_it_is(record, metadata):
    drawn = painted(draw_annotations(record, metadata))
    assert drawn.shape == (640, 800)  # 8 times 80 x 100
    line = drawn[280:460]  # beside the box's upright sides, below its label
    assert line[:, 155:166].any(axis=1).all() and line[:, 475:486].any(axis=1).all()
    assert not line[:, 170:470].any() and not line[:, :150].any() and not line[:, 490:].any()


@pytest.mark.parametrize("name", ["$x^{$", r"\frac{$a$}"])
def test_a_name_is_no_formula(record, name):
    metadata = Metadata(thing_classes=["ant", name])
    assert draw_annotations(record, metadata).shape[2] == 3


def test_a_mask_is_filled_and_objects_without_one_stay(record, metadata):
    masked = {**record["annotations"][0], "segmentation": [[20, 20, 60, 20, 60, 60, 20, 60]]}
    other = {**record["annotations"][0], "bbox": [70, 20, 20, 40]}
    drawn = painted(draw_annotations({**record, "annotations": [masked, other]}, metadata))
    assert drawn[300:460, 170:470].mean() > 0.9
    assert drawn[300:460, 555:566].any(axis=1).all() and not drawn[300:460, 570:710].any()


def test_predictions_below_the_score_are_not_drawn(record, metadata):
    predictions = [{"category_id": 9, "bbox": BOX, "score": 0.75}]
    shown = draw_predictions(record, predictions, metadata, score=0.75)
    hidden = draw_predictions(record, predictions, metadata, score=0.76)
    assert shown.shape == hidden.shape == (640, 2 * 800 + 8, 3)
    assert (shown[:, :800] == draw_annotations(record, metadata)).all()
    assert painted(shown[:, 808:]).any() and not painted(hidden[:, 808:]).any()


def test_prediction_of_an_unknown_category(record, metadata):
    predictions = [{"category_id": 5, "bbox": BOX, "score": 0.9}]
    with pytest.raises(UserError, match="image 1 has category_id 5"):
        draw_predictions(record, predictions, metadata, score=0.5)


def test_load_predictions_groups_by_image(data):
    assert load_predictions(str(data / "results.json")).keys() == {1}
    with pytest.raises(UserError, match=r"truth\.json holds no COCO results"):
        load_predictions(str(data / "truth.json"))
    with pytest.raises(UserError, match=r"absent\.json"):
        load_predictions(str(data / "absent.json"))


def test_annotations_evenly_chosen(tool, data, capsys):
    assert tool.main(["--source", "annotation", *truth_arguments(data), "--num", "2"]) == 0
    paths = [str(data / f"out/{key}_{key}.png") for key in (1, 3)]
    assert capsys.readouterr().out.splitlines()[-2:] == paths
    assert sorted(map(str, (data / "out").glob("[!.]*"))) == paths
    assert Image.open(paths[0]).size == (800, 640)


def test_seed_chooses_the_same_images_again(tool, data, capsys):
    runs = []
    for seed in (1, 1, 2, 3, 4):
        assert (
            tool.main(
                [
                    "--source",
                    "annotation",
                    *truth_arguments(data),
                    "--num",
                    "2",
                    "--seed",
                    str(seed),
                ]
            )
            == 0
        )
        runs.append(capsys.readouterr().out.splitlines()[-2:])
    assert runs[0] == runs[1] and len(set(map(tuple, runs))) > 1


def test_predictions_beside_the_truth(tool, data):
    arguments = [*truth_arguments(data), "--predictions", str(data / "results.json")]
    assert tool.main(["--source", "prediction", *arguments, "--num", "9"]) == 0
    pictures = sorted((data / "out").glob("[!.]*"))
    assert len(pictures) == NUM_IMAGES
    right = [painted(np.asarray(Image.open(path))[:, 808:]).any() for path in pictures]
    assert right == [True, False, False, False]  # results.json has image 1 alone


def test_samples_after_augmentation(tool, data, capsys):
    (data / "config.py").write_text(CONFIG)
    values = [
        f"dataset.{split}_{what}={data / file}"
        for split in ("train", "val")
        for what, file in (("json", "truth.json"), ("images", "images"))
    ]
    arguments = ["--config-file", str(data / "config.py"), "--output-dir", str(data / "out")]
    assert tool.main(["--source", "dataloader", *arguments, "--num", "3", *values]) == 0
    paths = capsys.readouterr().out.splitlines()
    assert len(paths) == 3 and all(Path(path).parent == data / "out" for path in paths)
    picture = np.asarray(Image.open(paths[0]))
    assert picture.shape[0] / picture.shape[1] == pytest.approx(50 / 60, abs=0.01)
    assert painted(picture).any()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--json", "absent.json"], "absent.json"),
        (["--images", "nowhere"], "nowhere"),
        (["--num", "0"], "--num is 0"),
        (["--source", "dataloader"], "--source dataloader needs --config-file."),
        (["--source", "prediction"], "--predictions"),
        (["--config-file", "configs/quickstart.py"], "--config-file"),
    ],
)
def test_errors(tool, data, change, words, capsys):
    assert tool.main(["--source", "annotation", *truth_arguments(data), *change]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.slow
def test_the_command_prints_one_line_and_no_trace(shell, data):
    (data / "images/2.png").unlink()
    result = shell(TOOL, "--source", "annotation", *truth_arguments(data))
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert errors == [f"error: {data}/truth.json has fatal problems; the report above names them."]
    assert "Traceback" not in result.stderr
    assert "missing image files (1): image 2 (2.png)" in result.stdout

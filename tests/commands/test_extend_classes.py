import json
from dataclasses import replace

import pytest
import torch

from imted.checkpoint import read_description

PREDICTOR = "roi_heads.box_predictor"


@pytest.fixture
def extend(load_script, tmp_path):
    """Write what the tool reads, the categories in no order, and run it."""
    module = load_script("tools/extend_classes.py")
    for file, classes in (("base", {8: "cat", 2: "dog"}), ("all", {8: "cat", 5: "ant", 2: "dog"})):
        categories = [{"id": key, "name": name} for key, name in classes.items()]
        content = {"images": [], "annotations": [], "categories": categories}
        (tmp_path / f"{file}.json").write_text(json.dumps(content))
    weights = {
        f"{PREDICTOR}.cls_score.weight": torch.tensor([[2.0], [8.0], [99.0]]),
        f"{PREDICTOR}.cls_score.bias": torch.tensor([2.0, 8.0, 99.0]),
        f"{PREDICTOR}.bbox_pred.weight": torch.arange(8.0)[:, None],
        f"{PREDICTOR}.bbox_pred.bias": torch.arange(8.0),
    }
    torch.save({"model": weights, "iteration": 7}, tmp_path / "base.pth")

    def run(*options, base="base.json", classes="all.json"):
        jsons = ("--base-json", tmp_path / base, "--json", tmp_path / classes)
        paths = (tmp_path / "base.pth", tmp_path / "out.pth")
        return module.main(list(map(str, (*paths, *jsons, *options))))

    return run


def test_rows_follow_ascending_ids(extend, tmp_path, capsys):
    assert extend() == 0
    assert "Kept: 2 classes and the background. New: ant." in capsys.readouterr().out
    written = torch.load(tmp_path / "out.pth", weights_only=True)["model"]
    # dog is 2, ant 5, cat 8, and then the background.
    assert written[f"{PREDICTOR}.cls_score.bias"].tolist() == [2, 0, 8, 99]
    assert written[f"{PREDICTOR}.bbox_pred.bias"].tolist() == [0, 1, 2, 3, 0, 0, 0, 0, 4, 5, 6, 7]
    assert extend("--new-boxes") == 0
    assert "box regressors start anew" in capsys.readouterr().out
    written = torch.load(tmp_path / "out.pth", weights_only=True)["model"]
    assert written[f"{PREDICTOR}.cls_score.bias"].tolist() == [2, 0, 8, 99]
    assert not written[f"{PREDICTOR}.bbox_pred.bias"].any()


def test_what_the_file_says_of_itself_has_the_new_classes(extend, description, tmp_path):
    content = torch.load(tmp_path / "base.pth", weights_only=True)
    base = description(classes=("dog", "cat"), category_ids=(2, 8), augmentations=None)
    torch.save({**content, "description": base.to_dict()}, tmp_path / "base.pth")
    assert extend() == 0
    said = read_description(str(tmp_path / "out.pth"))
    assert said == replace(base, classes=("dog", "ant", "cat"), category_ids=(2, 5, 8))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (dict(base="all.json", classes="base.json"), "'ant' is not among the 2 classes of --json"),
        (dict(base="all.json"), "aren't those of the 3 classes of --base-json"),
        (dict(base="absent.json"), "there is no such annotation file"),
    ],
)
def test_errors_end_with_one_line(extend, tmp_path, capsys, files, message):
    assert extend(**files) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and message in error
    assert not (tmp_path / "out.pth").exists()

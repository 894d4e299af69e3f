import json
import shutil

import numpy as np
import pytest
from PIL import Image

from imted.predict import load_run
from imted.training.evaluate import do_test


@pytest.fixture
def analyze(load_script):
    main = load_script("tools/analyze_results.py").main
    return lambda *args: main([str(arg) for arg in args])


@pytest.fixture
def run(detector_run):
    """The folder of a run that has evaluated its small random detector."""
    folder = detector_run()
    loaded = load_run(str(folder))
    do_test(loaded.run.with_test_set(), loaded.model)
    return folder


def numbers(folder):
    return json.loads((folder / "analysis.json").read_text())


@pytest.mark.parametrize("task", ["bbox", "segm"])
def test_a_run(analyze, run, capsys, task):
    assert analyze(run, "--task", task) == 0
    found = numbers(run / "analysis")
    expected = json.loads((run / "results.json").read_text())[task]
    for name, value in found["metrics"].items():
        assert value is None if expected[name] is None else value == pytest.approx(expected[name])
    by_class = {c["name"]: c["AP"] for c in found["classes"]}
    for name in ("ant", "bee", "cat"):
        assert by_class[name] == pytest.approx(expected[f"AP-{name}"])
    assert found["objects"] == 2 and found["images"] == 2
    page = (run / "analysis/report.html").read_text()
    assert str(run / "analysis/report.html") in capsys.readouterr().out
    for name in ("errors", "f1", "confusion", "precision_recall"):
        assert f'src="{name}.png"' in page
        assert Image.open(run / f"analysis/{name}.png").width > 300
    pictures = [Image.open(run / "analysis" / image["picture"]) for image in found["worst"]]
    assert len(pictures) == 2 and all(p.width > 2 * p.height * 0.6 for p in pictures)


def test_annotations_and_predictions_alone(analyze, run, tmp_path):
    args = ["--json", tmp_path / "val.json", "--images", tmp_path / "images"]
    predictions = run / "inference/coco_instances_results.json"
    output = tmp_path / "report"
    assert analyze(*args, "--predictions", predictions, "--output", output) == 0
    assert analyze(run) == 0
    assert numbers(output)["metrics"] == numbers(run / "analysis")["metrics"]


def test_without_the_images_the_report_is_there(analyze, run, tmp_path):
    shutil.rmtree(tmp_path / "images")
    assert analyze(run, "--json", tmp_path / "val.json") == 0
    page = (run / "analysis/report.html").read_text()
    assert "The image file can&#39;t be read" in page or "The image file can't be read" in page


@pytest.mark.parametrize(
    "spoil",
    [
        lambda annotations: annotations[0].update(id=0),  # which COCO's evaluation takes for none
        lambda annotations: [entry.update(id=5) for entry in annotations],
        lambda annotations: [
            entry.pop(key) for entry in annotations for key in ("area", "iscrowd")
        ],
        lambda annotations: annotations.append({**annotations[0], "id": 9, "image_id": 99}),
    ],
    ids=["id 0", "ids repeat", "neither area nor iscrowd", "an image is gone"],
)
def test_perfect_predictions_score_100_whatever_is_repaired(analyze, run, tmp_path, spoil):
    path, predictions = tmp_path / "val.json", tmp_path / "predictions.json"
    truth = json.loads(path.read_text())
    found = [
        {**{key: a[key] for key in ("image_id", "category_id", "bbox")}, "score": 0.9}
        for a in truth["annotations"]
    ]
    predictions.write_text(json.dumps(found))
    spoil(truth["annotations"])
    path.write_text(json.dumps(truth))
    assert analyze("--json", path, "--predictions", predictions, "--output", tmp_path / "o") == 0
    assert numbers(tmp_path / "o")["metrics"]["AP"] == pytest.approx(100)


def test_no_prediction_at_all(analyze, run):
    (run / "inference/coco_instances_results.json").write_text("[]")
    assert analyze(run) == 0
    found = numbers(run / "analysis")
    assert found["metrics"]["AP"] == 0 and found["errors"]["missed"]["count"] == 2


def test_two_runs(analyze, run, tmp_path, capsys):
    """The second run has found all objects, the first none."""
    better = tmp_path / "better"
    shutil.copytree(run, better)
    truth = json.loads((tmp_path / "val.json").read_text())
    right = [
        {k: a[k] for k in ("image_id", "category_id", "bbox")} | {"score": 0.9}
        for a in truth["annotations"]
    ]
    (better / "inference/coco_instances_results.json").write_text(json.dumps(right))
    (run / "inference/coco_instances_results.json").write_text("[]")
    assert analyze("--compare", run, better) == 0
    out = capsys.readouterr().out
    assert "+100.0, 95% interval over images +100.0 to +100.0; the interval excludes zero" in out
    found = numbers(better / "comparison")
    assert found["metrics"]["AP"]["value"] == 100
    assert (better / "comparison/report.html").read_text().count("<b>+100.0</b>") >= 3


def test_names_are_text_in_the_page(analyze, run, tmp_path):
    truth = json.loads((tmp_path / "val.json").read_text())
    truth["categories"][1]["name"] = "<script>alert(1)</script>"
    (tmp_path / "val.json").write_text(json.dumps(truth))
    assert analyze(run, "--json", tmp_path / "val.json", "--num-images", 0) == 0
    assert "<script>" not in (run / "analysis/report.html").read_text()


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ([], "Give a run's folder"),
        (["absent"], "There is no run folder absent"),
        (["{run}", "--predictions", "absent.json"], "absent.json: there is no such file"),
        (["{run}", "--json", "absent.json"], "absent.json"),
        (["{run}", "--json", "{empty}"], "empty.json has no images"),
        (["--compare", "{run}", "absent"], "There is no run folder absent"),
        (["{run}", "--num-images", "-1"], "at least 0"),
        (["{run}", "--confidence-threshold", "nan"], "from 0 to 1"),
    ],
)
def test_one_sentence(analyze, run, tmp_path, capsys, args, sentence):
    empty = tmp_path / "empty.json"
    empty.write_text('{"images": [], "annotations": [], "categories": [{"id": 5, "name": "bee"}]}')
    assert analyze(*(arg.format(run=run, empty=empty) for arg in args)) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and sentence in error


def test_many_detections_are_seen_as_coco_sees_them(analyze, run, tmp_path):
    """More than 100 of a class in an image: those of the highest scores count."""
    generator = np.random.default_rng(0)
    many = [
        {"image_id": 1, "category_id": 5, "bbox": [60, 60, 9, 9], "score": 0.5 + s / 2}
        for s in generator.random(150)
    ]
    last = {"image_id": 1, "category_id": 5, "bbox": [10, 20, 40, 30], "score": 0.1}
    path = run / "inference/coco_instances_results.json"
    path.write_text(json.dumps([*many, last]))
    assert analyze(run) == 0
    assert numbers(run / "analysis")["metrics"]["AP"] == 0

"""The few-shot experiment on shapes from data to results, through the command lines."""

import json

import pytest
import torch
from paths import ROOT

from synthetic.dataset import write_split
from synthetic.shapes import CLASS_NAMES, ShapesOptions

SCORES = "roi_heads.box_predictor.cls_score.weight"


@pytest.fixture
def command(load_script):
    """Run a script of the repository in this process; it must succeed."""

    def run(script: str, *args):
        assert load_script(script).main(list(map(str, args))) == 0

    return run


@pytest.mark.slow
def test_base_training_surgery_and_fine_tuning(command, train_net, tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    data = tmp_path / "shapes"
    truth = write_split(data, "train", 12, seed=0, options=ShapesOptions())
    held_out = write_split(data, "val", 3, seed=0, options=ShapesOptions())
    split = tmp_path / "split"
    prepare = ("datasets/prepare_few_shot.py", "--json", truth, "--val-json", held_out)
    command(*prepare, "--novel", "ring", "cross", "--shots", 2, "--seeds", 5, "--output", split)
    shots = split / "2shot_seed5.json"

    common = [f"dataset.train_images={data}/train", f"dataset.val_images={data}/val"]
    common += ["train.max_iter=2", "dataloader.train.total_batch_size=2"]
    common += ["dataloader.train.num_workers=0", "dataloader.test.num_workers=0"]
    base_json, base_val = split / "base_train.json", split / "base_val.json"
    base_data = [f"dataset.train_json={base_json}", f"dataset.val_json={base_val}"]
    base, fine = tmp_path / "base", tmp_path / "fine"
    config = ROOT / "configs/few_shot/shapes_base.py"
    assert train_net("--config-file", config, *common, *base_data, f"train.output_dir={base}") == 0

    extended = tmp_path / "extended.pth"
    surgery = ("tools/extend_classes.py", base / "model_final.pth", extended)
    command(*surgery, "--base-json", base_json, "--json", shots)

    config = ROOT / "configs/few_shot/shapes_fine_tune.py"
    more = [f"dataset.train_json={shots}", f"dataset.val_json={held_out}"]
    more += [f"train.init_checkpoint={extended}", f"train.output_dir={fine}"]
    assert train_net("--config-file", config, *common, *more) == 0

    # What the fine-tuning started from: base training's, with rows for two more classes.
    start, trained = (
        torch.load(path, weights_only=True)["model"]
        for path in (extended, base / "model_final.pth")
    )
    new = [name for name in start if start[name].shape != trained[name].shape]
    assert len(new) == 4  # weight and bias of scores and masks; one regressor serves all classes
    assert all(torch.equal(start[name], trained[name]) for name in start if name not in new)
    old_rows = [CLASS_NAMES.index(name) for name in ("disc", "rectangle", "triangle", "star")]
    assert torch.equal(start[SCORES][[*old_rows, 6]], trained[SCORES])

    after = torch.load(fine / "model_final.pth", weights_only=True)["model"]
    unchanged = {name for name in start if torch.equal(start[name], after[name])}
    encoder = {name for name in start if name.startswith("backbone.net.")}
    assert encoder and unchanged - encoder <= {
        name for name in start if name.endswith("pos_embed") or "anchor_generator" in name
    }
    assert encoder <= unchanged
    results = json.loads((fine / "results.json").read_text())
    for task in ("bbox", "segm"):
        assert {"AP", "bAP", "nAP", "bAP50", "nAP75", "nAPs", "AP-ring"} <= results[task].keys()

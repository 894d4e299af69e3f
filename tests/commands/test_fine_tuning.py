"""From a trained detector to one of other classes, through the command line."""

import json
from pathlib import Path

import pytest
import torch
from detectron2.config import LazyConfig, instantiate

from synthetic.dataset import write_split
from synthetic.shapes import ShapesOptions

pytestmark = pytest.mark.slow


CONFIG = Path(__file__).parents[2] / "configs/custom/imted_faster_rcnn_vit_tiny.py"


def test_training_on_other_classes_starts_from_a_detector(train_net, tmp_path, monkeypatch):
    monkeypatch.chdir(CONFIG.parents[2])
    truth = write_split(tmp_path, "val", 4, seed=0, options=ShapesOptions())
    content = json.loads(truth.read_text())
    content["categories"] = content["categories"][:2]
    kept = [a for a in content["annotations"] if a["category_id"] <= 2]
    assert 0 < len(kept) < len(content["annotations"])
    truth.write_text(json.dumps({**content, "annotations": kept}))

    torch.manual_seed(5)
    cfg = LazyConfig.load(str(CONFIG))
    cfg.model.roi_heads.num_classes = 80
    detector = instantiate(cfg.model)
    weights, run = tmp_path / "detector.pth", tmp_path / "run"
    torch.save({"model": detector.state_dict()}, weights)
    data = [f"dataset.{s}_{what}" for s in ("train", "val") for what in ("json", "images")]
    paths = [truth, tmp_path / "val"] * 2
    overrides = [f"{key}={path}" for key, path in zip(data, paths, strict=True)]
    overrides += [f"train.init_checkpoint={weights}", f"train.output_dir={run}"]
    overrides += ["train.max_iter=1", "optimizer.lr=0.0", "dataloader.train.total_batch_size=2"]
    assert train_net("--config-file", CONFIG, *overrides) == 0

    before = detector.state_dict()
    after = torch.load(run / "model_final.pth", weights_only=True)["model"]
    changed = {k for k, v in after.items() if v.shape != before[k].shape or (v != before[k]).any()}
    predictor = "roi_heads.box_predictor"
    assert changed == {f"{predictor}.{layer}.weight" for layer in ("cls_score", "bbox_pred")} | {
        f"{predictor}.{layer}.bias" for layer in ("cls_score", "bbox_pred")
    }
    assert after[f"{predictor}.cls_score.weight"].shape[0] == 3

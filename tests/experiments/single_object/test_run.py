"""The single-object experiment on shapes, through the command line."""

import json

import pytest
import torch
from paths import ROOT

from prepare_single_object import write_single_object
from synthetic.shapes import ShapesOptions

OPTIONS = ShapesOptions(
    image_size=192, max_objects=1, empty_fraction=0, crowd_fraction=0, cut_fraction=0
)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["encoder", "random_decoder", "pretrained_decoder"])
def test_train_and_evaluate_again(train_net, tmp_path, monkeypatch, variant):
    monkeypatch.chdir(ROOT)
    data, output = tmp_path / "data", tmp_path / "run"
    write_single_object(data, {"train": 6, "val": 3}, 0, OPTIONS)
    common = ("--config-file", ROOT / "configs/single_object/shapes.py")
    common += (f"dataloader.train.dataset.root={data}", f"model.variant={variant}")
    common += ("dataloader.train.num_workers=0", "dataloader.test.num_workers=0")
    common += ("dataloader.train.total_batch_size=2", "train.device=cpu")
    assert train_net(*common, "train.max_iter=2", f"train.output_dir={output}") == 0
    results = json.loads((output / "results.json").read_text())
    assert results.keys() == {"single_object"}
    assert results["single_object"].keys() == {"mAP", "mAP50", "CorLoc", "Acc"}
    final = output / "model_final.pth"
    weights = torch.load(final, weights_only=True)["model"]
    assert len(weights["class_logits.bias"]) == 6
    again = tmp_path / "again"
    more = (f"train.init_checkpoint={final}", f"train.output_dir={again}")
    assert train_net("--eval-only", *common, *more) == 0
    assert json.loads((again / "eval/results.json").read_text()) == results

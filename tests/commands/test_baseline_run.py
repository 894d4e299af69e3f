"""The baselines, made small, trained and evaluated on shapes through the command line."""

import json

import pytest
import torch
from paths import ROOT

from synthetic.dataset import write_split
from synthetic.shapes import ShapesOptions

pytestmark = pytest.mark.slow

MAE = ROOT / "projects/imTED/weights/mae_vit_tiny_shapes.pth"
CONFIG = """
from detectron2.config import LazyConfig

baseline = LazyConfig.load("configs/{name}_3x.py")
dataset = LazyConfig.load("configs/quickstart.py").dataset
tiny = LazyConfig.load("configs/common/sizes.py", "tiny")

model, dataloader, optimizer = baseline.model, baseline.dataloader, baseline.optimizer
lr_multiplier, train = baseline.lr_multiplier, baseline.train
model.backbone.net.update(tiny.encoder)
model.proposal_generator.post_nms_topk = (20, 20)
model.roi_heads.batch_size_per_image = 16
dataloader.train.dataset.update(names="custom_train", source="${{dataset}}")
dataloader.test.dataset.update(names="custom_val", source="${{dataset}}")
model.roi_heads.num_classes = 6
{variant}
jitter = dataloader.train.mapper.augmentations
dataloader.train.mapper.augmentations = []
dataloader.test.mapper.augmentations = []
train.amp.enabled = False
"""
BASELINE = 'model.roi_heads.variant = "baseline"'
VITDET = """
# Large-scale jitter, to 96 pixels; windows of 4 of the 6 patches a side.
jitter[1].update(target_height=96, target_width=96)
jitter[2].crop_size = (96, 96)
dataloader.train.mapper.augmentations = jitter
model.backbone.square_pad = 96
model.backbone.net.update(img_size=96, window_size=4, window_block_indexes=[0, 1, 3, 4])
dataloader.train.mapper.instance_mask_format = "bitmask"
"""


@pytest.mark.parametrize(
    "name", ["coco/imted_faster_rcnn_vit_base", "baselines/mask_rcnn_vitdet_base"]
)
def test_train_from_a_mae_and_evaluate(train_net, tmp_path, monkeypatch, name):
    monkeypatch.chdir(ROOT)
    data, output, config = tmp_path / "shapes", tmp_path / "output", tmp_path / "config.py"
    for split, images in (("train", 4), ("val", 2)):
        write_split(data, split, images, seed=0, options=ShapesOptions(image_size=96))
    config.write_text(
        (CONFIG + VITDET * ("vitdet" in name)).format(
            name=name, variant="" if "vitdet" in name else BASELINE
        )
    )
    arguments = ["--config-file", config, "train.max_iter=2", f"train.output_dir={output}"]
    arguments += [f"dataset.train_json={data}/train.json", f"dataset.train_images={data}/train"]
    arguments += [f"dataset.val_json={data}/val.json", f"dataset.val_images={data}/val"]
    arguments += [f"train.init_checkpoint={MAE}", "train.device=cpu"]
    arguments += ["dataloader.train.total_batch_size=2", "dataloader.train.num_workers=0"]
    assert train_net(*arguments, "dataloader.test.num_workers=0") == 0

    results = json.loads((output / "results.json").read_text())
    assert results.keys() == ({"bbox", "segm"} if "mask" in name else {"bbox"})
    # The encoder is the MAE's, which two iterations of warm-up hardly move; the box head is not.
    weights = torch.load(output / "model_final.pth", weights_only=True)["model"]
    mae = torch.load(MAE, weights_only=True)["model"]
    block = "blocks.5.attn.qkv.weight"
    loaded = weights[f"backbone.net.{block}"]
    torch.testing.assert_close(loaded, mae[block].float(), atol=1e-4, rtol=0)
    assert not any(key.startswith("roi_heads.box_head.decoder") for key in weights)

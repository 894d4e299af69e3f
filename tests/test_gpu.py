"""What runs otherwise on a GPU than on a CPU: `python -m pytest -m gpu` where there is one."""

import gc
import json
import math

import pytest
import torch
from detectron2.config import instantiate
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage

from imted.predict import Predictor
from synthetic.dataset import write_split
from synthetic.shapes import ShapesOptions

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
]
DEVICE = "cuda"


def make_batch(objects=2):
    generator = torch.Generator().manual_seed(0)
    batch = []
    for height, width in ((96, 128), (112, 80)):
        image = torch.randint(256, (3, height, width), dtype=torch.uint8, generator=generator)
        truth = Instances((height, width))
        corners = torch.tensor([[8.0, 8.0, 40.0, 50.0], [30.0, 20.0, 70.0, 60.0]])[:objects]
        truth.gt_boxes, truth.gt_classes = Boxes(corners), torch.arange(objects)
        batch.append({"image": image, "height": height, "width": width, "instances": truth})
    return batch


@pytest.fixture(autouse=True)
def exact_products():
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield


def test_box_features_and_head_are_those_of_the_cpu(small_detector):
    model = small_detector().eval()
    torch.nn.init.normal_(model.roi_heads.box_pooler.scale)
    image = torch.rand(1, 3, 96, 128)
    boxes = [Boxes(torch.tensor([[4.0, 6.0, 90.0, 80.0], [10.5, 3.2, 20.1, 30.7]]))]
    found = []
    for device in ("cpu", DEVICE):
        model.to(device)
        with torch.no_grad():
            maps = model.backbone(image.to(device))
            features = [maps[name] for name in model.roi_heads.box_in_features]
            pooled = model.roi_heads.box_pooler(features, [b.to(device) for b in boxes])
            found.append((maps["p2"].cpu(), pooled.cpu(), model.roi_heads.box_head(pooled).cpu()))
    for ours, expected in zip(found[1], found[0], strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("objects", [2, 0])
def test_losses_and_gradients_are_finite_in_every_precision(small_detector, dtype, objects):
    model = small_detector().to(DEVICE).train()
    enabled = dtype is not torch.float32
    with EventStorage(), torch.autocast(DEVICE, dtype, enabled=enabled):
        losses = model(make_batch(objects))
    scale = 128.0 if dtype is torch.float16 else 1.0
    (sum(losses.values()) * scale).backward()
    assert all(math.isfinite(value) for value in losses.values())
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients and all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_inference_ends_on_the_device(small_detector, dtype):
    model = small_detector().to(DEVICE).eval()
    model.roi_heads.box_predictor.test_score_thresh = 0.0
    enabled = dtype is not torch.float32
    with torch.no_grad(), torch.autocast(DEVICE, dtype, enabled=enabled):
        results = model(make_batch())
    assert all(len(result["instances"]) for result in results)
    assert all(result["instances"].pred_boxes.device.type == DEVICE for result in results)
    assert all(result["instances"].scores.isfinite().all() for result in results)


def test_synchronised_batch_norm_of_one_process_is_batch_norm(small_released_config):
    found = []
    for norm in ("SyncBN", "BN"):
        config = small_released_config()
        config.backbone.norm = norm
        torch.manual_seed(0)
        model = instantiate(config).to(DEVICE).train()
        torch.manual_seed(0)
        with EventStorage():
            found.append(model(make_batch()))
    for name, loss in found[0].items():
        torch.testing.assert_close(loss, found[1][name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("amp", [(), ("bf16",), ("fp16",)])
def test_a_training_is_resumed(train_net, tmp_path, amp):
    words = [f"train.device={DEVICE}", f"train.output_dir={tmp_path}", "train.ema.enabled=false"]
    words += [w for dtype in amp for w in ("train.amp.enabled=true", f"train.amp.dtype={dtype}")]
    assert train_net(*words, "train.max_iter=3") == 0
    assert train_net("--resume", *words) == 0
    saved = torch.load(tmp_path / "model_final.pth", weights_only=True)
    assert saved["iteration"] == 5
    lines = [json.loads(line) for line in (tmp_path / "metrics.json").read_text().splitlines()]
    written = sum("total_loss" in line for line in lines)
    least = 1 if amp == ("fp16",) else 6  # whose first scales may be too large for a step
    assert least <= written <= 6


def test_the_largest_step_is_found(load_script, tmp_path, capsys):
    words = ["--config-file", "configs/custom/imted_mask_rcnn_vit_tiny.py", "--samples", "2"]
    for split in ("train", "val"):
        write_split(tmp_path, split, 2, seed=0, options=ShapesOptions(image_size=64))
        words += [f"dataset.{split}_json={tmp_path / split}.json"]
        words += [f"dataset.{split}_images={tmp_path / split}"]
    assert load_script("tools/find_batch_size.py").main(words) == 0
    printed = capsys.readouterr().out
    assert "GiB" in printed and "dataloader.train.total_batch_size=2" in printed
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True])
def test_processes_of_torchrun_train(shell, toy_config, tmp_path, sharded):
    """With NCCL, on as many GPUs as there are; a fused optimizer counts its steps there."""
    number = torch.cuda.device_count()
    for words in (("train.max_iter=3",), ("--resume",)):
        process = shell(
            *("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", number),
            *("train_net.py", "--config-file", toy_config, *words, f"train.device={DEVICE}"),
            *(f"dataloader.train.total_batch_size={2 * number}", "dataloader.train.num_workers=1"),
            *(f"train.shard_optimizer={sharded}", "train.validation_loss=true"),
            *("optimizer.fused=true", f"train.output_dir={tmp_path}"),
        )
        assert process.returncode == 0, process.stderr
    assert torch.load(tmp_path / "model_final.pth", weights_only=True)["iteration"] == 5


def test_full_memory_is_one_sentence(train_net, tmp_path, capsys):
    gc.collect()  # a block that is free within the process is taken in spite of the limit
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(1e-6)
    try:
        words = (f"train.device={DEVICE}", f"train.output_dir={tmp_path}")
        assert train_net(*words) == 1
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    error = capsys.readouterr().err
    assert "memory" in error and "Traceback" not in error


@pytest.mark.parametrize("amp", [(), ("train.amp.enabled=true", "train.amp.dtype=bf16")])
def test_a_detector_that_was_trained_there_predicts_and_is_exported(
    detector_run, load_script, train_net, tmp_path, amp
):
    given = detector_run()
    paths = [
        *(f"dataset.train_json={tmp_path}/val.json", f"dataset.train_images={tmp_path}/images"),
        f"train.init_checkpoint={given}/model_final.pth",
    ]
    folder = tmp_path / "trained"
    words = [f"train.device={DEVICE}", "train.max_iter=2", f"train.output_dir={folder}"]
    words += ["dataloader.train.num_workers=0", *paths, *amp]
    assert train_net("--config-file", given / "config.yaml", *words) == 0
    image = tmp_path / "images/1.png"
    there, here = (Predictor(folder, device=device)(image) for device in (DEVICE, "cpu"))
    assert len(there) == len(here)
    if not amp:
        torch.testing.assert_close(there.scores, here.scores, rtol=1e-2, atol=1e-3)
    export = load_script("tools/export_model.py").main
    words = [str(folder), "--format", "torchscript", "--output", str(tmp_path / "exported")]
    assert export([*words, "--device", DEVICE, "--run-eval"]) == 0

"""Small models made from the configs that users start from, and the command line on a toy."""

import importlib.util
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from detectron2.config import LazyConfig, instantiate
from PIL import Image

from imted.checkpoint import Description, save_mae
from imted.modeling import MAEEncoder, MaskedAutoencoder, ReconstructionDecoder

# Threads cost more than they save on models this small.
torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[1]
TOYS = ROOT / "tests/training"
CONFIG = str(TOYS / "toy_config.py")
ENCODER = dict(embed_dim=32, depth=3, num_heads=2, pretrain_img_size=64)
DECODER = dict(dim=16, depth=2, num_heads=4, grid_size=4)
CHANNELS = 12  # of the pyramid


def make_small(name: str, num_classes: int, masks: bool):
    cfg = LazyConfig.load(str(ROOT / "configs/common/models" / name)).model
    if not masks:
        cfg.roi_heads.update(mask_in_features=None, mask_pooler=None, mask_head=None)
    cfg.backbone.net.update(ENCODER)
    cfg.backbone.out_channels = CHANNELS
    cfg.roi_heads.box_head.update(DECODER)
    cfg.roi_heads.num_classes = num_classes
    return cfg


@pytest.fixture
def load_script():
    """Import a command line by its path; Detectron2's wheel has a package "tools" of its own."""

    def load(path: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def small_detector_config():
    """Return the model's config: the tiny detector, made smaller still."""

    def config(variant: str = "imted", masks: bool = False, num_classes: int = 3):
        cfg = make_small("imted_mask_rcnn_tiny.py", num_classes, masks)
        cfg.roi_heads.variant = variant
        return cfg

    return config


@pytest.fixture
def small_released_config():
    """Return the config of a released model, made small; its pyramid reads an early block."""

    def config(masks: bool = False, num_classes: int = 3):
        cfg = make_small("imted_released_mask_rcnn.py", num_classes, masks)
        cfg.backbone.net.early_blocks = [2]
        cfg.backbone.in_feature = "block2"
        return cfg

    return config


@pytest.fixture
def small_detector(small_detector_config):
    """Build a GeneralizedRCNN, the same for the same seed."""

    def build(variant: str = "imted", masks: bool = False, num_classes: int = 3, seed: int = 0):
        torch.manual_seed(seed)
        return instantiate(small_detector_config(variant, masks, num_classes))

    return build


@pytest.fixture
def small_mae():
    """Build a masked autoencoder of the small detector's sizes."""

    def build(seed: int = 0, encoder: dict | None = None, decoder: dict | None = None, **kwargs):
        torch.manual_seed(seed)
        encoder = {**ENCODER, **(encoder or {})}
        return MaskedAutoencoder(
            encoder=MAEEncoder(**encoder),
            decoder=ReconstructionDecoder(
                encoder_dim=encoder["embed_dim"], **{**DECODER, **(decoder or {})}
            ),
            pixel_mean=[120.0, 110.0, 100.0],
            pixel_std=[50.0, 60.0, 70.0],
            **kwargs,
        )

    return build


def released_shapes(
    masks: bool, classes: int, dim: int, depth: int, grid: int
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a released file's tensors: what mmdetection's modules call them."""
    decoder_dim, channels = DECODER["dim"], CHANNELS
    shapes = {
        "backbone.cls_token": (1, 1, dim),
        "backbone.pos_embed": (1, 1 + grid**2, dim),
        "roi_head.mfm_factor": (dim,),
        "roi_head.bbox_head.decoder_pos_embed": (1, 1 + grid**2, decoder_dim),
        "backbone.fpn1.1.running_mean": (dim,),
        "backbone.fpn1.1.running_var": (dim,),
        "backbone.fpn1.1.num_batches_tracked": (),
    }

    def layer(name: str, *weight: int, bias: bool = True) -> None:
        """Add a weight and, if wanted, as many biases as it has rows."""
        shapes[f"{name}.weight"] = weight
        if bias:
            shapes[f"{name}.bias"] = (weight[0],)

    def blocks(name: str, count: int, width: int) -> None:
        for i in range(count):
            layer(f"{name}.{i}.norm1", width)
            layer(f"{name}.{i}.attn.qkv", 3 * width, width)
            layer(f"{name}.{i}.attn.proj", width, width)
            layer(f"{name}.{i}.norm2", width)
            layer(f"{name}.{i}.mlp.fc1", 4 * width, width)
            layer(f"{name}.{i}.mlp.fc2", width, 4 * width)

    layer("backbone.patch_embed.proj", dim, 3, 16, 16)
    blocks("backbone.blocks", depth, dim)
    for name in ("fpn1.0", "fpn1.3", "fpn2.0"):
        layer(f"backbone.{name}", dim, dim, 2, 2)
    layer("backbone.fpn1.1", dim)
    for i in range(4):
        layer(f"neck.lateral_convs.{i}.conv", channels, dim, 1, 1, bias=False)
        layer(f"neck.fpn_convs.{i}.conv", channels, channels, 3, 3, bias=False)
        layer(f"neck.lateral_convs.{i}.ln", channels)
        layer(f"neck.fpn_convs.{i}.ln", channels)
    layer("rpn_head.rpn_conv", channels, channels, 3, 3)
    layer("rpn_head.rpn_cls", 3, channels, 1, 1)
    layer("rpn_head.rpn_reg", 12, channels, 1, 1)
    layer("roi_head.mfm_fc", dim, channels, 1, 1)
    layer("roi_head.bbox_head.norm", dim)
    layer("roi_head.bbox_head.decoder_embed", decoder_dim, dim)
    blocks("roi_head.bbox_head.decoder_blocks", DECODER["depth"], decoder_dim)
    layer("roi_head.bbox_head.decoder_box_norm", decoder_dim)
    layer("roi_head.bbox_head.fc_cls", classes + 1, decoder_dim)
    layer("roi_head.bbox_head.fc_reg", 4 * classes, decoder_dim)
    if masks:
        for i in range(4):
            layer(f"roi_head.mask_head.convs.{i}.conv", channels, channels, 3, 3)
        layer("roi_head.mask_head.upsample", channels, channels, 2, 2)
        layer("roi_head.mask_head.conv_logits", classes, channels, 1, 1)
    return shapes


@pytest.fixture
def released_file(tmp_path):
    """Write a file as the released code does; return its path and its weights by name."""

    def write(masks=False, classes=3, dim=32, depth=3, grid=4, drop: str = "", **extra):
        generator = torch.Generator().manual_seed(5)
        weights = {
            name: 0.1 * torch.randn(shape, generator=generator)
            for name, shape in released_shapes(masks, classes, dim, depth, grid).items()
            if name != drop
        }
        weights["backbone.fpn1.1.num_batches_tracked"] = torch.tensor(263880)
        weights["backbone.fpn1.1.running_var"].abs_()
        content = {
            "meta": {
                "mmdet_version": "2.11.0",
                "CLASSES": ("person", "bicycle"),
                "config": "model = dict(type='imTED')",
                "epoch": 36,
                "seed": None,
                "hook_msgs": {"best_score": np.float64(0.5), "seen": np.int64(3)},
            },
            "state_dict": {**weights, **extra},
            "optimizer": {
                "state": {0: {"step": 263880, "exp_avg": torch.zeros(2)}},
                "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999), "params": [0]}],
            },
            "amp": {"loss_scaler0": {"loss_scale": 65536.0, "unskipped": 7}},
        }
        path = str(tmp_path / "released.pth")
        torch.save(content, path)
        return path, weights

    return write


@pytest.fixture
def description():
    """Make what a detector's file says of itself: three classes, no masks, no augmentation."""

    def make(**changes):
        values = dict(
            classes=("ant", "bee", "cat"),
            category_ids=(3, 7, 8),
            masks=False,
            input_format="RGB",
            pixel_mean=(123.675, 116.28, 103.53),
            pixel_std=(58.395, 57.12, 57.375),
            augmentations=(),
            version="0.1.0",
        )
        return Description(**{**values, **changes})

    return make


@pytest.fixture
def randomize():
    """Give every parameter a random value, so that no zero hides what it does; in float64."""

    def apply(module: torch.nn.Module, seed: int = 0) -> torch.nn.Module:
        generator = torch.Generator().manual_seed(seed)
        module = module.double()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.normal_(std=0.3, generator=generator)
        return module.eval()

    return apply


@pytest.fixture
def mae_file(small_mae, tmp_path):
    """Write a small masked autoencoder's checkpoint; return its path and its weights by name."""

    def write(name: str = "mae_full.pth", drop: tuple[str, ...] = (), **kwargs):
        weights = small_mae(seed=7, **kwargs).official_state_dict()
        weights = {key: torch.randn_like(value) for key, value in weights.items()}
        path = tmp_path / name
        kept = {key: v for key, v in weights.items() if not key.startswith(drop or ("\0",))}
        torch.save({"model": kept}, path)
        return str(path), kept

    return write


@pytest.fixture
def saved_mae(small_mae, tmp_path):
    """Save a small masked autoencoder with `save_mae`; return the path and the model."""

    def save(name: str):
        model = small_mae(seed=7)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_()
        path = str(tmp_path / name)
        save_mae(model, path)
        return path, model

    return save


@pytest.fixture
def detector_run(tmp_path, small_detector_config):
    """Write the folder that a training leaves: config.yaml and model_final.pth, its data beside.

    A small random detector of three classes; two images of noise, which it resizes.
    """
    from imted.checkpoint import save_state_dict
    from imted.config.load import load_config
    from imted.training.describe import describe

    categories = {2: "ant", 5: "bee", 7: "cat"}

    def write(name: str = "run", masks: bool = True, described: bool = True, **model) -> Path:
        folder, images = tmp_path / name, tmp_path / "images"
        folder.mkdir()
        images.mkdir(exist_ok=True)
        generator = np.random.default_rng(0)
        sizes = {1: (90, 120), 4: (150, 100)}
        for key, size in sizes.items():
            pixels = generator.integers(256, size=(*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(images / f"{key}.png")
        box = {"bbox": [10, 20, 40, 30], "area": 1200, "iscrowd": 0}
        polygon = {"segmentation": [[10, 20, 50, 20, 50, 50, 10, 50]]} if masks else {}
        truth = {
            "images": [
                {"id": key, "file_name": f"{key}.png", "height": height, "width": width}
                for key, (height, width) in sizes.items()
            ],
            "annotations": [
                {"id": key, "image_id": key, "category_id": 5, **box, **polygon} for key in sizes
            ],
            "categories": [{"id": key, "name": value} for key, value in categories.items()],
        }
        (tmp_path / "val.json").write_text(json.dumps(truth))
        cfg = load_config(
            "configs/custom/imted_mask_rcnn_vit_tiny.py",
            [
                f"dataset.val_json={tmp_path}/val.json",
                f"dataset.val_images={images}",
                "dataloader.test.num_workers=0",
                "train.device=cpu",
                f"train.output_dir={folder}",
            ],
        )
        cfg.dataloader.test.mapper.augmentations[0].update(short_edge_length=64, max_size=96)
        cfg.model = small_detector_config(masks=masks, **model)
        cfg.model.roi_heads.box_predictor.test_score_thresh = 0.0
        LazyConfig.save(cfg, str(folder / "config.yaml"))
        torch.manual_seed(3)
        detector = instantiate(cfg.model)
        description = describe(detector, cfg, categories) if described else None
        save_state_dict(detector.state_dict(), str(folder / "model_final.pth"), description)
        return folder

    return write


@pytest.fixture
def toy_config(monkeypatch):
    """Path of a small config; what it imports is importable, and torch runs on one thread."""
    monkeypatch.syspath_prepend(str(TOYS))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield CONFIG
    torch.set_num_threads(threads)


@pytest.fixture
def train_net(toy_config, monkeypatch):
    """Run the command line on the toy config in this process; return its exit status."""
    from imted.training.launcher import main

    # Asking for compilers and drivers takes seconds; tests that start a process do.
    monkeypatch.setattr("imted.training.console.collect_env_info", lambda: "not asked for")
    loggers = [logging.getLogger(name) for name in ("detectron2", "fvcore", "imted")]
    before = [(x.handlers[:], x.level, x.propagate) for x in loggers]
    yield lambda *args: main(["--config-file", toy_config, *map(str, args)])
    for logger, (logger.handlers, level, logger.propagate) in zip(loggers, before, strict=True):
        logger.setLevel(level)


@pytest.fixture
def shell():
    """Run a Python command in the repository with the toy importable; return what it did."""

    def run(*command):
        paths = [str(TOYS), str(ROOT / "projects" / "imTED"), os.environ.get("PYTHONPATH", "")]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [sys.executable, *map(str, command)], cwd=ROOT, env=env, capture_output=True, text=True
        )

    return run


@pytest.fixture
def default_output(load_script, monkeypatch):
    """Return where a command of datasets/ writes to without --output, below the folder of data."""

    def output(script: str, *arguments: str) -> str:
        module = load_script(script)
        monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
        folder = module.parse_arguments(list(arguments)).output.relative_to("datasets")
        monkeypatch.setenv("DETECTRON2_DATASETS", "/elsewhere")
        assert module.parse_arguments(list(arguments)).output == Path("/elsewhere", folder)
        return str(folder)

    return output

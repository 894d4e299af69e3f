"""Every config that a user can name: those outside configs/common."""

import math
import re
from functools import partial
from pathlib import Path
from unittest import mock

import detectron2.data.transforms as T
import numpy as np
import pytest
import torch
from config_files import build, config_names, load, shapes
from detectron2.config import LazyConfig, instantiate
from detectron2.data import MetadataCatalog
from detectron2.structures import BoxMode
from omegaconf import OmegaConf
from paths import ROOT
from PIL import Image

from imted.compat import detectron2_config_file
from imted.config.settings import TrainSettings
from imted.modeling import ReleasedPyramid

CONFIG_FOLDER = ROOT / "configs"
NAMES = ("model", "dataloader", "optimizer", "lr_multiplier", "train")
VITDET = "baselines/mask_rcnn_vitdet_{}_3x.py"
MASK_SETTINGS = ("mask_in_features", "mask_pooler", "mask_head")


# The fast loop builds one of each kind.
OFTEN = (
    "quickstart.py",
    "coco/imted_faster_rcnn_vit_small_3x.py",
    "custom/imted_mask_rcnn_vit_tiny.py",
    "released/imted_mask_rcnn_vit_large.py",
    "pretrain/mae_vit_tiny.py",
)
CONFIGS = [
    pytest.param(name, marks=() if name in OFTEN else pytest.mark.slow) for name in config_names()
]


def test_there_are_configs():
    assert {"quickstart.py", "coco/imted_mask_rcnn_vit_large_3x.py"} <= set(config_names())


@pytest.mark.parametrize("name", CONFIGS)
def test_config_builds_and_survives_its_dump(name, tmp_path):
    cfg = load(name)
    assert not [key for key in NAMES if key not in cfg]
    model = build(cfg)

    cfg.optimizer.params.model = model
    optimizer = instantiate(cfg.optimizer)
    cfg.optimizer.params.model = None
    in_groups = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(in_groups) == len([p for p in model.parameters() if p.requires_grad])
    assert max(group["lr"] for group in optimizer.param_groups) == cfg.optimizer.lr

    first, second = tmp_path / "config.yaml", tmp_path / "again.yaml"
    LazyConfig.save(cfg, str(first))
    again = LazyConfig.load(str(first))
    LazyConfig.save(again, str(second))
    assert second.read_text() == first.read_text()
    if name in OFTEN:
        assert shapes(build(again)) == shapes(model)


@pytest.mark.parametrize("name", CONFIGS)
def test_learning_rate_over_a_run(name):
    schedule = instantiate(load(name).lr_multiplier)
    start, early, middle, end = (schedule(where) for where in (0.0, 0.1, 0.5, 1 - 1e-6))
    assert 0 < start <= 0.01  # warm-up
    assert early > 0.9
    assert 0.4 < middle <= 1
    assert end <= 0.0101
    assert all(0 <= schedule(i / 200) <= 1 + 1e-9 for i in range(200))


@pytest.mark.parametrize("name", CONFIGS)
def test_detectors_agree_on_their_classes_masks_and_sizes(name):
    cfg = load(name)
    if "num_classes" not in cfg.model.get("roi_heads", {}):
        return  # pre-training
    heads = build(cfg).roi_heads
    cfg.model.roi_heads.num_classes = 7  # one value sets them all
    assert cfg.model.roi_heads.box_predictor.num_classes == 7
    mask_keys = [
        cfg.model.roi_heads[key] for key in ("mask_in_features", "mask_pooler", "mask_head")
    ]
    assert len({key is None for key in mask_keys}) == 1
    assert heads.mask_on == (cfg.model.roi_heads.mask_head is not None)
    if heads.mask_on:
        assert cfg.model.roi_heads.mask_head.num_classes == 7
        assert cfg.dataloader.train.mapper.use_instance_mask


def resolved(cfg) -> dict:
    """The parts of a config without interpolations."""
    parts = (*NAMES, "dataset")
    return {k: OmegaConf.to_container(cfg[k], resolve=True) for k in parts if k in cfg}


def differences(one, other, prefix: str = "") -> set[str]:
    """Keys with different values, of resolved containers."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = one.keys() | other.keys()
        found = (
            differences(one.get(key, "absent"), other.get(key, "absent"), f"{prefix}.{key}")
            for key in keys
        )
        return set().union(*found)
    return set() if one == other else {prefix[1:]}


@pytest.mark.parametrize("name", [n for n in config_names() if "mask_rcnn" in n])
def test_a_mask_config_differs_from_its_box_twin_in_masks_alone(name):
    twin = name.replace("mask_rcnn", "faster_rcnn")
    if twin not in config_names():
        pytest.skip(f"there is no {twin}")
    mask, box = load(name), load(twin)
    mask.train.output_dir = box.train.output_dir
    about_masks = {f"model.roi_heads.{key}" for key in MASK_SETTINGS}
    mapper = "dataloader.train.mapper"
    keys = ("use_instance_mask", "recompute_boxes", "instance_mask_format")
    may = {f"{mapper}.{key}" for key in keys}
    sources = ("dataset", "dataloader.train.dataset.source", "dataloader.test.dataset.source")
    may |= {f"{key}.masks" for key in sources}
    found = differences(resolved(mask), resolved(box))
    assert about_masks <= found
    assert found <= about_masks | may


@pytest.mark.parametrize("name", [n for n in config_names() if n.endswith("_3x.py")])
def test_3x_schedule_is_36_epochs_with_steps_after_27_and_33(name):
    cfg = load(name)
    # COCO train2017: 117266 images with annotations, 16 in an iteration.
    batch = cfg.dataloader.train.total_batch_size * cfg.train.accumulation_steps
    assert batch == 16
    epoch = math.ceil(117266 / batch)
    assert cfg.train.max_iter == 36 * epoch
    schedule = instantiate(cfg.lr_multiplier)
    values = {
        0: 0.001,
        500: 1.0,
        27 * epoch - 1: 1.0,
        27 * epoch: 0.1,
        33 * epoch - 1: 0.1,
        33 * epoch: 0.01,
        36 * epoch - 1: 0.01,
    }
    for iteration, value in values.items():
        assert schedule(iteration / cfg.train.max_iter) == pytest.approx(value, rel=1e-6), iteration


@pytest.mark.parametrize(
    ("size", "drop_path"), [("small", 0.1), ("base", 0.2), ("large", 0.3)], ids=str
)
@pytest.mark.parametrize("kind", ["faster", "mask"])
def test_recipe_of_the_coco_configs(kind, size, drop_path):
    cfg = load(f"coco/imted_{kind}_rcnn_vit_{size}_3x.py")
    assert cfg.model.backbone.net.drop_path_rate == drop_path
    assert cfg.model.roi_heads.box_head.drop_path_rate == 0
    assert (cfg.optimizer.lr, cfg.optimizer.weight_decay) == (1e-4, 0.05)
    assert tuple(cfg.optimizer.betas) == (0.9, 0.999)
    assert cfg.optimizer.params.layer_decay == 0.75
    assert cfg.model.roi_heads.variant == "imted"
    if size != "small":
        assert cfg.train.init_checkpoint.endswith(f"mae_pretrain_vit_{size}_full.pth")


@pytest.mark.parametrize("name", ["coco/imted_mask_rcnn_vit_base_3x.py", VITDET.format("base")])
def test_polygons_are_cropped_with_their_image(name, tmp_path):
    pytest.importorskip("shapely")
    path = str(tmp_path / "black.png")
    Image.new("RGB", (60, 40)).save(path)
    whole = dict(bbox=[0, 0, 60, 40], bbox_mode=BoxMode.XYXY_ABS, category_id=0)
    whole["segmentation"] = [[0, 0, 60, 0, 60, 40, 0, 40]]
    sample = {"file_name": path, "height": 40, "width": 60, "annotations": [whole]}
    cfg = load(name).dataloader.train.mapper
    for augmentation in cfg.augmentations:
        if augmentation._target_ is T.RandomApply:
            augmentation.prob = 1.0  # always crop
    np.random.seed(0)
    mapped = instantiate(cfg)(sample)
    height, width = mapped["image"].shape[1:]
    assert height / width != pytest.approx(40 / 60, rel=0.02)
    assert mapped["instances"].gt_masks.area().item() == pytest.approx(height * width, rel=0.01)


@pytest.mark.parametrize("name", [n for n in config_names() if n.startswith("baselines/")])
def test_baselines_differ_from_imted_where_they_should(name):
    cfg = load(name)
    imted = load(f"coco/imted_{Path(name).name.replace('vitdet', 'vit')}")
    found = differences(resolved(imted), resolved(cfg)) - {"dataloader.evaluator.output_dir"}
    found = {key for key in found if not key.startswith("model.")}
    assert found == {
        "train.output_dir",
        "dataloader.train.mapper.augmentations",
        "dataloader.test.mapper.augmentations",
        "optimizer.weight_decay",
        "optimizer.params.weight_decay",
        "optimizer.params.layer_decay",
    }


def shared(path: Path) -> bool:
    """Whether a file holds pieces of configs, and is none that a user names."""
    return "common" in (path.relative_to(CONFIG_FOLDER).parts[0], path.stem)


def imported(path: Path) -> list[Path]:
    """The files of configs that one of them imports."""
    found = re.findall(r"^from (\.+)([\w.]+) import", path.read_text(), re.MULTILINE)
    return [path.parents[len(dots) - 1] / f"{name.replace('.', '/')}.py" for dots, name in found]


def files_away(path: Path) -> int:
    """How many files lie between this one and Detectron2; tables of plain values aside."""
    values = ("constants", "sizes", "boxes_only", "small_steps")
    return max((1 + files_away(p) for p in imported(path) if p.stem not in values), default=0)


@pytest.mark.parametrize("name", config_names())
def test_a_config_is_near_to_detectron2(name):
    path = CONFIG_FOLDER / name
    assert all(shared(p) for p in imported(path)), "a config imports another that users name"
    assert files_away(path) <= 3
    assert not [
        word
        for line in re.findall(r"^from \.+[\w.]+ import (.+)$", path.read_text(), re.MULTILINE)
        for word in line.split(",")
        if word.split(" as ")[0].strip().startswith("_")
    ], "a private name crosses files"


def test_train_shows_every_key_with_its_default():
    shown = LazyConfig.load(str(CONFIG_FOLDER / "common/train.py")).train
    stated = OmegaConf.to_container(OmegaConf.structured(TrainSettings))
    assert OmegaConf.to_container(shown) == stated
    lines = (CONFIG_FOLDER / "common/train.py").read_text().splitlines()
    for key in stated:  # each with a comment beside or above it
        number = next(i for i, line in enumerate(lines) if line.startswith(f"    {key}="))
        assert "#" in lines[number] or lines[number - 1].strip().startswith("#"), key


@pytest.mark.slow
def test_configs_export_what_can_be_set_alone():
    """A group beside those that a run reads would take an override and change nothing."""
    groups = {*NAMES, "dataset"}
    for name in config_names():
        own = {name.split("/")[0]} if "/" in name else set()  # an experiment's own group
        assert set(load(name)) <= groups | own, name


# As in projects/ViTDet of Detectron2, which has no ViT-S.
@pytest.mark.parametrize(
    ("size", "global_blocks", "drop_path", "layer_decay"),
    [
        ("small", (2, 5, 8, 11), 0.1, 0.7),
        ("base", (2, 5, 8, 11), 0.1, 0.7),
        ("large", (5, 11, 17, 23), 0.4, 0.8),
    ],
)
def test_vitdet_baselines_are_detectron2s(size, global_blocks, drop_path, layer_decay):
    cfg = load(VITDET.format(size))
    encoder = cfg.model.backbone.net
    windows = set(encoder.window_block_indexes)
    assert windows == set(range(encoder.depth)) - set(global_blocks)
    assert (encoder.drop_path_rate, cfg.optimizer.weight_decay) == (drop_path, 0.1)
    assert cfg.optimizer.params.layer_decay == layer_decay

    theirs = LazyConfig.load(detectron2_config_file("common/models/mask_rcnn_vitdet.py")).model
    imted = load(f"coco/imted_mask_rcnn_vit_{size}_3x.py").model.backbone.net
    for key in ("embed_dim", "depth", "num_heads"):
        theirs.backbone.net[key] = imted[key]
    theirs.backbone.net.window_block_indexes = sorted(windows)
    with torch.device("meta"), mock.patch("torch.linspace", partial(torch.linspace, device="cpu")):
        assert shapes(build(cfg)) == shapes(instantiate(theirs))


def test_iterations_of_voc_and_lvis_are_36_epochs_of_16_images():
    voc, lvis = load("voc/imted_faster_rcnn_vit_base.py"), load("lvis/imted_mask_rcnn_vit_base.py")
    for cfg, images in ((voc, 5011 + 11540), (lvis, 100170)):
        assert cfg.dataloader.train.total_batch_size == 16
        assert cfg.train.max_iter == 36 * math.ceil(images / 16)
        assert instantiate(cfg.lr_multiplier)(500 / cfg.train.max_iter) == 1
    assert voc.model.roi_heads.num_classes == 20


def test_lvis_predictor_draws_classes_by_the_root_of_their_images():
    cfg = load("lvis/imted_mask_rcnn_vit_base.py")
    weights = instantiate(cfg.model.roi_heads.box_predictor.get_fed_loss_cls_weights)()
    counts = MetadataCatalog.get("lvis_v1_train").class_image_count
    expected = {c["id"]: c["image_count"] for c in counts}
    assert len(weights) == cfg.model.roi_heads.num_classes == 1203
    assert (weights**2).tolist() == pytest.approx([expected[i + 1] for i in range(1203)])


@pytest.mark.parametrize("name", [n for n in config_names() if n.startswith("released/")])
def test_released_configs_have_their_authors_choices(name):
    cfg = load(name)
    backbone, encoder = cfg.model.backbone, cfg.model.backbone.net
    assert backbone._target_ is ReleasedPyramid and backbone.norm == "SyncBN"
    assert encoder.interpolate_offset == cfg.model.roi_heads.box_head.interpolate_offset == 0.1
    # The 12th block is the last one of S and B; L has 24.
    assert backbone.encoder_feature == "last_feat"
    assert backbone.in_feature == ("block12" if encoder.depth == 24 else "last_feat")
    resize = instantiate(cfg.dataloader.test.mapper.augmentations[0])
    transform = resize.get_transform(np.zeros((480, 640, 3), np.uint8))
    assert type(transform).__name__ == "OpenCVResizeTransform"
    assert (transform.new_h, transform.new_w) == (800, 1067)
    assert not cfg.train.amp.enabled
    augmentations = cfg.dataloader.train.mapper.augmentations
    assert augmentations[1].tfm_or_aug.augs[0].max_size == 1333
    assert not cfg.dataloader.train.mapper.recompute_boxes
    assert cfg.dataloader.train.mapper.instance_mask_format == "bitmask"
    assert cfg.model.roi_heads.num_classes == (3 if "few_shot" in name else 80)  # from the json
    assert ("dataset" in cfg) == ("few_shot" in name)

import shutil

import detectron2.data.transforms as T
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.utils.registry import locate

import imted
from imted.checkpoint import Description, read_description
from imted.config.load import load_config
from imted.data.resize import OpenCVResizeShortestEdge
from imted.errors import UserError
from imted.training.checkpointers import RunCheckpointer, UntaggedCheckpointer
from imted.training.describe import describe, registered_categories


def resize_of(said):
    """Return the only augmentation: its class, the shorter edge and the most of the longer."""
    (call,) = said.augmentations
    return locate(call["_target_"]), call["short_edge_length"], call["max_size"]


class Trainer(torch.nn.Module):
    """Stands for Detectron2's: something with a state."""


def test_coco_is_described_by_detectron2s_catalog(small_detector):
    cfg = load_config("configs/coco/imted_mask_rcnn_vit_base_3x.py")
    model = small_detector(masks=True, num_classes=80)
    said = describe(model, cfg, registered_categories(cfg))
    assert said.classes == tuple(MetadataCatalog.get("coco_2017_val").thing_classes)
    assert (said.category_ids[0], said.category_ids[-1]) == (1, 90)
    assert resize_of(said) == (T.ResizeShortestEdge, 800, 1333)
    assert said.pixel_mean == (123.675, 116.28, 103.53)  # as the config has it, not its float32
    assert said.masks and said.version == imted.__version__
    assert Description.from_dict(said.to_dict(), "file") == said


def test_the_released_resize_is_opencvs(small_detector):
    cfg = load_config("configs/released/imted_mask_rcnn_vit_small.py")
    said = describe(small_detector(num_classes=80), cfg, registered_categories(cfg))
    assert resize_of(said) == (OpenCVResizeShortestEdge, 800, 1333)


def test_voc_has_no_ids_but_the_numbers_of_its_classes(small_detector):
    cfg = load_config("configs/voc/imted_faster_rcnn_vit_base.py")
    categories = registered_categories(cfg)
    assert list(categories) == list(range(20)) and categories[0] == "aeroplane"


def test_what_cannot_be_described(small_detector, small_mae):
    cfg = load_config("configs/coco/imted_mask_rcnn_vit_base_3x.py")
    categories = registered_categories(cfg)
    assert describe(small_detector(num_classes=5), cfg, categories) is None
    assert describe(small_mae(), cfg, categories) is None
    assert registered_categories(load_config("configs/pretrain/mae_vit_tiny.py")) == {}


def test_other_augmentations_are_left_to_the_config(small_detector):
    cfg = load_config("configs/coco/imted_mask_rcnn_vit_base_3x.py")
    cfg.dataloader.test.mapper.augmentations[0]["_target_"] = "mine.Augmentation"
    said = describe(small_detector(num_classes=80), cfg, registered_categories(cfg))
    assert said.augmentations is None


def test_every_checkpoint_of_a_run_carries_it(small_detector, description, tmp_path):
    model = small_detector()
    run = RunCheckpointer(model, str(tmp_path), description(), trainer=Trainer())
    run.save("model_0000009", iteration=9)
    UntaggedCheckpointer(model, str(tmp_path), description()).save("model_best")
    for name in ("model_0000009", "model_best"):
        assert read_description(str(tmp_path / f"{name}.pth")) == description()
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000009.pth"
    again = RunCheckpointer(model, str(tmp_path), description(), trainer=Trainer())
    assert again.resume()["iteration"] == 9


def test_other_classes_of_the_same_number_are_not_resumed(small_detector, description, tmp_path):
    model = small_detector()
    RunCheckpointer(model, str(tmp_path), description(), trainer=Trainer()).save("model")
    other = description(classes=("ant", "wasp", "cat"))
    with pytest.raises(UserError, match=r"other classes than the data set .'bee', not 'wasp'"):
        RunCheckpointer(model, str(tmp_path), other, trainer=Trainer()).resume()


def test_a_run_of_an_earlier_version_is_resumed(small_detector, description, tmp_path):
    model = small_detector()
    RunCheckpointer(model, str(tmp_path), None, trainer=Trainer()).save("model", iteration=3)
    again = RunCheckpointer(model, str(tmp_path), description(), trainer=Trainer())
    assert again.resume()["iteration"] == 3


@pytest.mark.slow
def test_train_net_writes_it(detector_run, shell, tmp_path):
    folder = detector_run()
    paths = [
        f"dataset.train_{k}={tmp_path}/{v}" for k, v in (("json", "val.json"), ("images", "images"))
    ]
    options = ["train.max_iter=1", "dataloader.train.num_workers=0", "train.init_checkpoint=''"]
    output = tmp_path / "new"
    done = shell(
        *("train_net.py", "--config-file", folder / "config.yaml", *paths, *options),
        f"train.output_dir={output}",
    )
    assert done.returncode == 0, done.stderr + done.stdout
    shutil.rmtree(tmp_path / "images")
    said = read_description(str(output / "model_final.pth"))
    assert dict(zip(said.category_ids, said.classes, strict=True)) == {2: "ant", 5: "bee", 7: "cat"}
    assert said.masks and resize_of(said) == (T.ResizeShortestEdge, 64, 96)
    assert imted.load_detector(str(output)).roi_heads.num_classes == 3

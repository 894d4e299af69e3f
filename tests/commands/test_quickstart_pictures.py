import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.config import LazyConfig
from fixtures.weights import official_weights
from omegaconf import OmegaConf
from paths import ROOT
from PIL import Image

from imted.checkpoint import read_state_dict, save_mae
from imted.modeling import MAEEncoder, MaskedAutoencoder, ReconstructionDecoder
from imted.modeling.masked_autoencoder import normalize_patches, patchify
from imted.visualization.reconstruction import GREY, denormalize_patches, load_mae, reconstruct
from run_figures import save_losses

TOOL = ROOT / "tools/quickstart_pictures.py"
PATCH, SIDE = 8, 32
ENCODER = {"embed_dim": 16, "depth": 1, "num_heads": 2, "patch_size": PATCH}
ENCODER["pretrain_img_size"] = SIDE
DECODER = {"dim": 8, "depth": 1, "num_heads": 2, "grid_size": SIDE // PATCH}
MEAN, STD = [120.0, 110.0, 100.0], [60.0, 50.0, 40.0]
NAMES = ["predictions", "reconstructions", "losses", "modulator"]


@pytest.fixture
def mae():
    torch.manual_seed(0)
    return MaskedAutoencoder(
        encoder=MAEEncoder(**ENCODER),
        decoder=ReconstructionDecoder(
            encoder_dim=ENCODER["embed_dim"], patch_size=PATCH, **DECODER
        ),
        pixel_mean=MEAN,
        pixel_std=STD,
    ).eval()


@pytest.fixture
def images():
    return torch.randint(256, (2, 3, SIDE, SIDE), generator=torch.Generator().manual_seed(1)).to(
        torch.uint8
    )


@pytest.fixture
def run(tmp_path, mae, images):
    """A made-up run folder: two images with an object each, and random weights."""
    (tmp_path / "images").mkdir()
    for key, image in enumerate(images, start=1):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"images/{key}.png")
    result = {"category_id": 1, "bbox": [4, 4, 20, 20]}
    truth = {
        "images": [
            {"id": key, "file_name": f"{key}.png", "width": SIDE, "height": SIDE} for key in (1, 2)
        ],
        "annotations": [
            {"id": key, "image_id": key, "area": 400, "iscrowd": 0, **result} for key in (1, 2)
        ],
        "categories": [{"id": 1, "name": "ant"}],
    }
    (tmp_path / "val.json").write_text(json.dumps(truth))
    save_mae(mae, str(tmp_path / "mae.pth"))
    folder = tmp_path / "run"
    (folder / "inference").mkdir(parents=True)
    predictions = [{"image_id": 1, "score": 0.9, **result}]
    (folder / "inference/coco_instances_results.json").write_text(json.dumps(predictions))
    entries = [
        {"iteration": i, "lr": 0.1, "total_loss": 3.0 - i, "loss_cls": 1.0} for i in range(3)
    ]
    lines = [json.dumps(entry) for entry in [*entries, {"iteration": 3, "bbox/AP50": 61.0}]]
    (folder / "metrics.json").write_text("\n".join(lines))
    (folder / "results.json").write_text('{"bbox": {"AP50": 61.04}, "segm": {"AP50": 48.96}}')
    weights = {"roi_heads.box_pooler.scale": torch.randn(16), "other": torch.zeros(1)}
    torch.save({"model": weights}, folder / "model_final.pth")
    OmegaConf.save(config(tmp_path), folder / "config.yaml")
    return folder


def config(folder):
    dataset = {"_target_": "detectron2.data.get_detection_dataset_dicts", "names": "custom_val"}
    paths = {"val_json": str(folder / "val.json"), "val_images": str(folder / "images")}
    return OmegaConf.create(
        {
            "model": {
                "backbone": {"net": {"_target_": "imted.modeling.MAEEncoder", **ENCODER}},
                "roi_heads": {
                    "box_head": {"encoder_dim": ENCODER["embed_dim"], **DECODER},
                    "num_classes": 1,
                    "mask_head": None,
                },
                "pixel_mean": MEAN,
                "pixel_std": STD,
            },
            "dataset": {
                "_target_": "imted.data.dataset.CocoDataset",
                "output_dir": "${train.output_dir}",
                **paths,
            },
            "dataloader": {"test": {"dataset": {**dataset, "filter_empty": False}}},
            "optimizer": {},
            "lr_multiplier": {},
            "train": {
                "output_dir": "elsewhere",
                "seed": 0,
                "init_checkpoint": str(folder / "mae.pth"),
            },
        }
    )


@pytest.fixture
def tool(load_script):
    return load_script("tools/quickstart_pictures.py")


def set_checkpoint(run, path):
    cfg = OmegaConf.load(run / "config.yaml")
    cfg.train.init_checkpoint = str(path)
    OmegaConf.save(cfg, run / "config.yaml")


@pytest.mark.slow
def test_all_pictures_and_the_numbers(tool, run, capsys):
    assert tool.main([str(run)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        *(str(run / f"pictures/{name}.png") for name in NAMES),
        "box AP50 61.0",
        "mask AP50 49.0",
    ]
    for path in lines[:4]:
        picture = np.asarray(Image.open(path).convert("L"))
        assert min(picture.shape) > 100 and picture.std() > 10
        assert Path(path).stat().st_size < 1e6


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["none", "missing", "a detector", "no decoder"])
def test_a_run_that_came_of_no_mae(tool, run, mae, capsys, kind):
    path = "" if kind == "none" else run / "other.pth"
    weights = {"some.weight": torch.zeros(1)}
    if kind == "no decoder":
        official = official_weights(mae)
        weights = {key: value for key, value in official.items() if "decoder" not in key}
    if kind in ("a detector", "no decoder"):
        torch.save({"model": weights}, path)
    set_checkpoint(run, path)
    assert tool.main([str(run)]) == 0
    first, *others = capsys.readouterr().out.splitlines()
    assert first.startswith("No reconstructions.png: ") and "train.init_checkpoint" in first
    assert [Path(line).stem for line in others[:-2]] == ["predictions", "losses", "modulator"]
    assert not (run / "pictures/reconstructions.png").exists()


@pytest.mark.slow
def test_a_variant_without_modulator_and_masks(tool, run, capsys):
    torch.save({"model": {"other": torch.zeros(1)}}, run / "model_final.pth")
    (run / "results.json").write_text('{"bbox": {"AP50": null}}')
    assert tool.main([str(run)]) == 0
    first, *others = capsys.readouterr().out.splitlines()
    assert first == "No modulator.png: this variant has no modulator."
    assert [Path(line).stem for line in others] == NAMES[:3]


@pytest.mark.slow
def test_the_quickstarts_own_mae_is_built_and_loaded():
    cfg = LazyConfig.load(str(ROOT / "configs/quickstart.py"))
    weights = read_state_dict(cfg.train.init_checkpoint)
    loaded = official_weights(load_mae(cfg.model, cfg.train.init_checkpoint))
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[key], weights[key].float()) for key in weights)


def test_denormalisation_by_formula():
    generator = torch.Generator().manual_seed(0)
    patches = torch.randn(2, 5, 12, generator=generator) * 7 + 3
    normalised = torch.randn(2, 5, 12, generator=generator)
    found = denormalize_patches(normalised, patches)
    for n in range(2):
        for i in range(5):
            patch = patches[n, i].double().numpy()
            expected = normalised[n, i].numpy() * patch.std(ddof=1) + patch.mean()
            np.testing.assert_allclose(found[n, i], expected, rtol=1e-4, atol=1e-4)


def test_a_perfect_prediction_gives_the_image(mae, images, monkeypatch):
    original = mae.reconstruct

    def perfect(normalised, noise):
        return normalize_patches(patchify(normalised, PATCH)), original(normalised, noise)[1]

    wrong = reconstruct(mae, images)[1]
    monkeypatch.setattr(mae, "reconstruct", perfect)
    assert (reconstruct(mae, images)[1] == images).all()
    assert (wrong != images).any()


def test_masked_patches_are_where_the_mask_says(mae, images, monkeypatch):
    masks = []
    original = mae.reconstruct

    def recorded(normalised, noise):
        prediction, hidden = original(normalised, noise)
        masks.append(hidden)
        return prediction, hidden

    monkeypatch.setattr(mae, "reconstruct", recorded)
    masked, predicted = reconstruct(mae, images, seed=3)
    assert masked.dtype == predicted.dtype == torch.uint8
    per_row = SIDE // PATCH
    for n in range(len(images)):
        assert masks[0][n].sum() == 0.75 * per_row**2
        for i in range(per_row**2):
            y, x = PATCH * (i // per_row), PATCH * (i % per_row)
            area = (n, slice(None), slice(y, y + PATCH), slice(x, x + PATCH))
            if masks[0][n, i]:
                assert (masked[area] == GREY).all() and (predicted[area] != images[area]).any()
            else:
                assert (masked[area] == images[area]).all()
                assert (predicted[area] == images[area]).all()


def test_the_seed_chooses_the_mask(mae, images):
    first, again, other = (reconstruct(mae, images, seed)[0] for seed in (0, 0, 1))
    assert (first == again).all() and (first != other).any()


def test_the_last_of_repeated_iterations_counts(tmp_path):
    new = [{"iteration": i, "lr": 0.1, "loss_a": 1.0} for i in range(9)]
    old = [{**entry, "loss_a": 50.0} for entry in new[4:7]]
    save_losses(new, str(tmp_path / "once.png"))
    save_losses([*new[:4], *old, *new[4:]], str(tmp_path / "resumed.png"))
    pictures = [np.asarray(Image.open(tmp_path / f"{name}.png")) for name in ("once", "resumed")]
    assert (pictures[0] == pictures[1]).all()


@pytest.mark.parametrize("name", ["metrics.json", "results.json"])
def test_a_file_that_is_no_json(tool, run, name, capsys):
    (run / name).write_text("{")
    assert tool.main([str(run)]) == 1
    assert f"{name} is not readable" in capsys.readouterr().err


def test_an_unfinished_run(tool, run, capsys):
    (run / "model_final.pth").unlink()
    (run / "results.json").unlink()
    assert tool.main([str(run)]) == 1
    assert "run has no model_final.pth, results.json; " in capsys.readouterr().err


@pytest.mark.slow
def test_a_missing_folder_is_one_sentence(shell, tmp_path):
    result = shell(TOOL, tmp_path / "nowhere")
    assert result.returncode == 1 and result.stdout == ""
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "nowhere" in errors[0] and "Traceback" not in result.stderr

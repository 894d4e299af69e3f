"""Weights & Biases, an optional package, by one that reads TensorBoard's files as the real does."""

import io
import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

ENABLED = "train.wandb.enabled=true"


class Service(ModuleType):
    """What is used of the package; `runs` are all that were started."""

    def __init__(self):
        super().__init__("wandb")
        self.runs = []

    def init(self, **settings):
        """Start a run, which follows TensorBoard's files that are opened from now on."""
        assert settings["sync_tensorboard"]
        folder = Path(settings["dir"])
        before = set(folder.glob("events.out.tfevents.*"))
        run = SimpleNamespace(settings=settings, sent={}, pictures={}, finished=False)

        def finish():
            run.finished = True
            for path in set(folder.glob("events.out.tfevents.*")) - before:
                events = EventAccumulator(str(path), {"scalars": 0, "images": 0}).Reload()
                for name in events.Tags()["scalars"]:
                    run.sent.update({(e.step, name): e.value for e in events.Scalars(name)})
                for name in events.Tags()["images"]:
                    run.pictures.update({(e.step, name): e for e in events.Images(name)})

        run.finish = finish
        self.runs.append(run)
        return run


@pytest.fixture
def service(monkeypatch):
    package = Service()
    monkeypatch.setitem(sys.modules, "wandb", package)
    return package


def metrics(folder):
    return [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]


def test_the_service_gets_what_metrics_json_gets(train_net, service, tmp_path):
    folder = tmp_path / "my_run"
    assert train_net(f"train.output_dir={folder}", ENABLED, "train.wandb.project=p") == 0
    (run,) = service.runs
    assert run.settings["project"] == "p" and run.settings["name"] == "my_run"
    assert run.settings["config"]["train"]["max_iter"] == 6
    assert run.finished
    expected = {
        (record["iteration"], name): value
        for record in metrics(folder)
        for name, value in record.items()
        # Detectron2's writers put times of different iterations into one record of the file.
        if name in ("total_loss", "loss_a", "lr", "grad_norm")
    }
    assert len(expected) == 4 * 6
    assert {key: run.sent[key] for key in expected} == pytest.approx(expected)
    assert {"bbox/AP", "data_time"} <= {name for _, name in run.sent}


def test_a_resumed_run_is_the_same_one_and_another_is_not(train_net, service, tmp_path):
    folder = f"train.output_dir={tmp_path}"
    assert train_net(folder, ENABLED) == 0
    assert train_net("--resume", folder, ENABLED, "train.max_iter=9") == 0
    assert train_net(folder, ENABLED, "train.overwrite=true", "train.wandb.name=n") == 0
    first, resumed, other = (run.settings for run in service.runs)
    assert first["id"] == resumed["id"] != other["id"]
    assert first["resume"] == "allow" and other["name"] == "n"


def test_without_the_package_the_run_ends_before_it_begins(
    train_net, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "wandb", None)  # what Python does with a missing one
    assert train_net(f"train.output_dir={tmp_path}", ENABLED) == 1
    assert "needs the package wandb; pip install wandb" in capsys.readouterr().err
    assert not (tmp_path / "metrics.json").exists()
    monkeypatch.setitem(sys.modules, "wandb", ModuleType("wandb"))  # a mere folder of that name
    assert train_net(f"train.output_dir={tmp_path}", ENABLED) == 1
    assert "needs the package wandb; pip install wandb" in capsys.readouterr().err


def test_a_service_that_refuses_is_an_error(train_net, service, tmp_path, monkeypatch, capsys):
    def refuse(**_):
        raise RuntimeError("No API key configured.\nmore")

    monkeypatch.setattr(service, "init", refuse)
    assert train_net(f"train.output_dir={tmp_path}", ENABLED) == 1
    message = capsys.readouterr().err
    assert "doesn't take the run (No API key configured.); run `wandb login`" in message


def test_pictures_reach_it(service, tmp_path):
    import torch
    from detectron2.utils.events import EventStorage
    from omegaconf import OmegaConf

    from imted.training.wandb_writer import WandbWriter

    (tmp_path / "config.yaml").write_text("model: {}\n")
    wandb = dict(project="p", entity=None, name=None)
    cfg = OmegaConf.create({"train": {"output_dir": str(tmp_path), "wandb": wandb}})
    writer = WandbWriter(cfg)
    picture = torch.arange(24, dtype=torch.uint8).reshape(3, 2, 4)
    with EventStorage(7) as storage:
        for _ in range(2):
            storage.put_image("validation/1", picture)
            writer.write()
            storage.step()
    writer.close()
    pictures = service.runs[0].pictures
    assert sorted(pictures) == [(7, "validation/1"), (8, "validation/1")]
    sent = Image.open(io.BytesIO(pictures[7, "validation/1"].encoded_image_string))
    assert (np.asarray(sent) == picture.permute(1, 2, 0).numpy()).all()

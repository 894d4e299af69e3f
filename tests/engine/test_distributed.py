"""Two processes on a CPU, as --num-gpus 2 and under torchrun, against one."""

import json

import pytest
import torch

# With a learning rate of 1 the step of SGD is the gradient itself. Without dropout nothing is
# random but the augmentation, which follows the image, whatever process it falls to.
PLAIN = (
    "optimizer._target_=torch.optim.SGD",
    "optimizer.lr=1",
    "model.dropout=0",
    "train.clip_grad.enabled=false",
    "train.ema.enabled=false",
    "dataloader.train.aspect_ratio_grouping=false",
    "dataloader.train.total_batch_size=4",
    "train.eval_period=0",
)


def trained(folder):
    weights = torch.load(folder / "model_final.pth", weights_only=True)["model"]
    return weights, json.loads((folder / "results.json").read_text())


@pytest.fixture
def one_process(train_net, tmp_path):
    """Train in this process; return what came out."""

    def run(*options):
        folder = tmp_path / "one"
        assert train_net(*PLAIN, f"train.output_dir={folder}", *options) == 0
        return trained(folder)

    return run


def assert_same(two, one):
    torch.testing.assert_close(two[0], one[0], rtol=1e-5, atol=1e-7)
    assert two[1]["bbox"]["AP"] == pytest.approx(one[1]["bbox"]["AP"], rel=1e-5)


def test_num_gpus_2_gives_the_gradients_of_twice_the_batch(
    one_process, shell, toy_config, tmp_path
):
    options = (*PLAIN, "train.max_iter=1", "train.accumulation_steps=2")
    args = ("train_net.py", "--num-gpus", 2, "--config-file", toy_config)
    process = shell(*args, *options, f"train.output_dir={tmp_path / 'two'}")
    assert process.returncode == 0, process.stderr
    two = trained(tmp_path / "two")
    # The same 8 images, accumulated or all at once.
    assert_same(two, one_process(*options))
    more = ("train.accumulation_steps=1", "dataloader.train.total_batch_size=8")
    assert_same(two, one_process(*options, *more))


def test_torchrun_trains_as_one_process_does(one_process, shell, toy_config, tmp_path):
    options = (*PLAIN, "optimizer.lr=0.1", "train.max_iter=4", "train.accumulation_steps=1")
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", 2)
    process = shell(
        *(*torchrun, "train_net.py", "--config-file", toy_config),
        *(*options, f"train.output_dir={tmp_path / 'two'}"),
    )
    assert process.returncode == 0, process.stderr
    assert_same(trained(tmp_path / "two"), one_process(*options))


def test_frozen_parts_stay_as_they_are_in_two_processes(one_process, shell, toy_config, tmp_path):
    options = (*PLAIN, "train.max_iter=2", "train.accumulation_steps=1", "optimizer.lr=0.1")
    options += ("model.batch_norm=true", "train.frozen=[norm,net.0]")
    args = ("train_net.py", "--num-gpus", 2, "--config-file", toy_config)
    process = shell(*args, *options, f"train.output_dir={tmp_path / 'two'}")
    assert process.returncode == 0, process.stderr
    two = trained(tmp_path / "two")
    assert two[0]["norm.running_var"].tolist() == [1, 1, 1, 1]
    assert_same(two, one_process(*options))


def test_mistake_in_started_processes_ends_with_one_line(shell, toy_config, tmp_path):
    args = ("train_net.py", "--num-gpus", 2, "--config-file", toy_config)
    options = ("dataloader.train.total_batch_size=3", f"train.output_dir={tmp_path}")
    process = shell(*args, *options)
    assert process.returncode == 1
    assert process.stderr.count("error: ") == 1
    assert "total_batch_size is 3; it must be a positive multiple" in process.stderr
    assert "Traceback" not in process.stdout + process.stderr

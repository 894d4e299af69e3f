import itertools
import random

import numpy as np
import pytest
import torch
from detectron2.engine import HookBase
from detectron2.utils.events import EventStorage
from torch import nn

from imted.errors import UserError
from imted.training.ema import EMAHook
from imted.training.hooks import ReseedHook
from imted.training.trainer import Trainer


class Regression(nn.Module):
    """A loss that is a mean over the images, and records what the layer computes in."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 1)

    def forward(self, batch):
        y = self.layer(torch.stack(batch))
        self.dtype = y.dtype
        return {"loss": (y.float() ** 2).mean(), "loss_other": y.float().abs().mean()}


def train(batches, iterations=1, hooks=(), **options):
    """Train and return the model and the scalars of the last iteration."""
    model = Regression()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = Trainer(model, iter(batches), optimizer, **options)
    trainer.register_hooks([hook(model) for hook in hooks])
    trainer.train(0, iterations)
    return model, {key: value for key, (value, _) in trainer.storage.latest().items()}


def images(count):
    return list(torch.randn(count, 3, generator=torch.Generator().manual_seed(1)))


def test_accumulating_two_batches_equals_one_of_twice_the_size():
    batch = images(8)
    whole, whole_scalars = train([batch])
    halves, halves_scalars = train([batch[:4], batch[4:]], accumulation_steps=2)
    torch.testing.assert_close(halves.state_dict(), whole.state_dict())
    for name in ("total_loss", "loss", "loss_other"):
        assert halves_scalars[name] == pytest.approx(whole_scalars[name])


def test_step_is_the_gradient_of_the_sum_of_losses():
    batch = images(4)
    reference = Regression()
    sum(reference(batch).values()).backward()
    expected = {n: p.data - 0.1 * p.grad for n, p in reference.named_parameters()}
    torch.testing.assert_close(dict(train([batch])[0].state_dict()), expected)


def test_clipping_scales_the_gradient_to_the_norm():
    start = nn.utils.parameters_to_vector(Regression().parameters())
    steps, norms = [], []
    for max_norm in (1e6, 0.01):
        model, scalars = train([images(4)], max_norm=max_norm)
        steps.append(nn.utils.parameters_to_vector(model.parameters()) - start)
        norms.append(scalars["grad_norm"])
    assert norms[0] == norms[1] == pytest.approx(steps[0].norm().item() / 0.1, rel=1e-4)
    torch.testing.assert_close(steps[1], steps[0] * 0.01 / norms[0], rtol=1e-3, atol=1e-7)


def test_bf16_computes_in_bf16_and_keeps_float_weights():
    model, _ = train([images(4)], amp_dtype=torch.bfloat16)
    assert model.dtype is torch.bfloat16
    assert model.layer.weight.dtype is torch.float32


def step(trainer, iteration=0):
    """Do one iteration outside a run, and return what it put into the event storage."""
    with EventStorage() as trainer.storage:
        trainer.iter = iteration
        trainer.run_step()
        return {name: value for name, (value, _) in trainer.storage.latest().items()}


@pytest.mark.parametrize("dtype", [None, torch.bfloat16])
def test_a_step_without_a_finite_loss_is_skipped_and_counted(dtype):
    before = {name: value.clone() for name, value in Regression().state_dict().items()}
    model = Regression()
    bad, good = [torch.full((3,), torch.nan)], images(4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = Trainer(model, iter([bad, bad, good]), optimizer, amp_dtype=dtype)
    for number in (1, 2):
        assert step(trainer)["bad_steps"] == number
        torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert "bad_steps" not in step(trainer)
    assert not torch.equal(model.layer.weight, before["layer.weight"])


def test_a_gradient_that_is_not_finite_is_bad_too():
    model = Regression()
    model.layer.weight.register_hook(lambda gradient: gradient * torch.inf)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert step(Trainer(model, iter([images(4)]), optimizer))["bad_steps"] == 1
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)


def test_bad_steps_in_a_row_end_the_training():
    bad, good = [torch.full((3,), torch.nan)], images(4)
    model = Regression()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = Trainer(model, iter([bad, good, bad, bad]), optimizer, max_bad_steps=2)
    for _ in range(3):
        step(trainer)
    with pytest.raises(UserError, match=r"2 steps in a row.*iteration 7,.*learning rate of 0.1;"):
        step(trainer, 7)


def test_a_resumed_optimizer_has_the_settings_of_the_config():
    model = Regression()
    first = Trainer(model, iter([images(4)]), torch.optim.AdamW(model.parameters(), lr=0.1))
    step(first)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.5)
    second = Trainer(model, iter([]), optimizer)
    second.load_state_dict(first.state_dict())
    (group,) = optimizer.param_groups
    assert (group["lr"], group["initial_lr"], group["weight_decay"]) == (0.01, 0.01, 0.5)
    state = optimizer.state[model.layer.weight]
    assert torch.equal(state["exp_avg"], first.optimizer.state[model.layer.weight]["exp_avg"])


def test_speed_counts_the_images_of_all_micro_batches(monkeypatch):
    """By a clock that moves on by a second each time it is read."""
    clock = itertools.count()
    monkeypatch.setattr("imted.training.trainer.time.perf_counter", lambda: float(next(clock)))
    scalars = train([images(4), images(3)], accumulation_steps=2)[1]
    # Read at the start, at both ends of each loading, and at the end.
    assert scalars["images_per_second"] == pytest.approx(7 / 5)
    assert scalars["data_time"] == pytest.approx(2)


def test_ema_follows_its_formula():
    decay, expected = 0.9, Regression().state_dict()

    class Follow(HookBase):
        def __init__(self, model):
            self.model = model

        def after_step(self):
            for name, value in self.model.state_dict().items():
                expected[name] = decay * expected[name] + (1 - decay) * value

    hooks = []
    model, _ = train(
        [images(4)] * 3,
        iterations=3,
        hooks=[Follow, lambda model: hooks.append(EMAHook(model, decay)) or hooks[0]],
    )
    averaged = hooks[0].module
    torch.testing.assert_close(dict(averaged.state_dict()), dict(expected))
    assert not torch.equal(averaged.layer.weight, model.layer.weight)


def test_reseeding_depends_on_seed_iteration_and_process_only(monkeypatch):
    def draw(seed, iteration, rank=0):
        monkeypatch.setattr("imted.training.hooks.comm.get_rank", lambda: rank)
        hook = ReseedHook(seed)
        hook.trainer = type("At", (), {"iter": iteration})
        hook.before_step()
        return torch.rand(1).item(), random.random(), np.random.rand()

    first = draw(3, 5)
    torch.rand(7)
    assert draw(3, 5) == first
    for other in (draw(3, 6), draw(4, 5), draw(3, 5, rank=1)):
        assert all(a != b for a, b in zip(first, other, strict=True))

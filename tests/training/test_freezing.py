import pytest
import torch
from detectron2.config import instantiate
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import nn

from imted.errors import UserError
from imted.training.freezing import FrozenEvalHook, freeze


@pytest.fixture
def train_frozen(train_net, tmp_path):
    """Train the toy with a batch norm from given weights; return them and what came out."""
    from toy_training import ToyModel

    torch.manual_seed(3)
    model = ToyModel(batch_norm=True)
    model.norm(torch.randn(5, 4) * 2 + 1)  # statistics that are not the initial ones
    weights = tmp_path / "start.pth"
    torch.save({"model": model.state_dict()}, weights)

    def run(*options):
        out = tmp_path / "run"
        fixed = (f"train.init_checkpoint={weights}", f"train.output_dir={out}")
        assert train_net(*fixed, "model.batch_norm=true", *options) == 0
        return model.state_dict(), out

    return run


def checkpoint(folder):
    return torch.load(folder / "model_final.pth", weights_only=True)


def changed(before, after) -> set[str]:
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_frozen_parts_stay_bit_by_bit_while_others_train(train_frozen):
    # The evaluation after 3 of 6 iterations puts the model back into training mode.
    before, out = train_frozen("train.frozen=[norm,net.0]")
    for weights in (checkpoint(out)["model"], checkpoint(out)["ema"]):
        assert changed(before, weights) == {"net.2.weight", "net.2.bias"}
    groups = checkpoint(out)["trainer"]["optimizer"]["param_groups"]
    assert sum(len(group["params"]) for group in groups) == 2


def test_statistics_are_updated_if_asked(train_frozen):
    before, out = train_frozen("train.frozen=[norm,net.0]", "train.frozen_eval=false")
    assert changed(before, checkpoint(out)["model"]) == {
        *("net.2.weight", "net.2.bias"),
        *("norm.running_mean", "norm.running_var", "norm.num_batches_tracked"),
    }


def test_without_freezing_all_of_it_trains(train_frozen):
    before, out = train_frozen()
    assert changed(before, checkpoint(out)["model"]) == set(before)


@pytest.mark.parametrize(
    ("frozen", "message"),
    [
        ("[nett.0]", "no part 'nett.0'; did you mean net.0?"),
        ("[xyz]", "no part 'xyz'; it has net."),
        ("[net.1]", "no part 'net.1'"),  # dropout: there is nothing to freeze in it
        ("null", "train.frozen"),
        ("[1]", "no part '1'"),
        ("[net]", "leaves nothing to train"),
    ],
)
def test_errors(train_net, tmp_path, capsys, frozen, message):
    assert train_net(f"train.output_dir={tmp_path}", f"train.frozen={frozen}") == 1
    assert message in capsys.readouterr().err


def test_a_prefix_ends_where_a_name_does():
    model = nn.ModuleDict({"blocks": nn.ModuleList(nn.Linear(1, 1) for _ in range(11))})
    freeze(model, ["blocks.1", "blocks.2.bias"])
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {"blocks.1.weight", "blocks.1.bias", "blocks.2.bias"}
    with pytest.raises(UserError):
        freeze(model, ["block"])


def test_a_frozen_detector_still_computes_its_losses(small_detector_config):
    cfg = small_detector_config()
    cfg.backbone.net.drop_path_rate = 0.5
    model = instantiate(cfg).train()
    parts = ["backbone", "proposal_generator", "roi_heads.box_head"]
    freeze(model, parts)
    FrozenEvalHook(model, parts).before_step()
    drops = [m.training for name, m in model.named_modules() if name.endswith("drop_path1")]
    assert drops and not any(drops)

    truth = Instances((64, 64))
    truth.gt_boxes = Boxes(torch.tensor([[4.0, 4.0, 40.0, 40.0]]))
    truth.gt_classes = torch.tensor([1])
    image = torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8)
    with EventStorage():
        losses = model([{"image": image, "instances": truth}])
    assert {"loss_rpn_cls", "loss_rpn_loc", "loss_cls", "loss_box_reg"} == set(losses)
    sum(losses.values()).backward()
    with_gradient = {name for name, p in model.named_parameters() if p.grad is not None}
    assert with_gradient and all(name.startswith("roi_heads.box_p") for name in with_gradient)

"""The recipe of the few-shot configs."""

import pytest
from config_files import build, load
from detectron2.config import instantiate

from imted.config.settings import check_settings
from imted.errors import UserError
from imted.training.freezing import freeze


@pytest.mark.parametrize(
    "name", ["few_shot/imted_faster_rcnn_vit_base_fine_tuning.py", "few_shot/shapes_fine_tune.py"]
)
def test_two_keys_choose_the_json_and_the_output(name):
    cfg = load(name)
    default = cfg.train.output_dir
    cfg.few_shot.update(shots=30, seed=4)
    assert cfg.dataset.train_json.endswith("/30shot_seed4.json")
    assert cfg.train.output_dir.endswith("30shot_seed4") and cfg.train.output_dir != default


def test_recipe_of_the_few_shot_configs():
    base = load("few_shot/imted_faster_rcnn_vit_base_base_training.py")
    fine = load("few_shot/imted_faster_rcnn_vit_base_fine_tuning.py")
    assert fine.few_shot.shots == 10
    for cfg, epochs, steps in ((base, 24, (18, 22)), (fine, 108, (81, 99))):
        schedule = instantiate(cfg.lr_multiplier)
        assert schedule(500 / cfg.train.max_iter) == 1.0 > schedule(499 / cfg.train.max_iter)
        for step, before, after in zip(steps, (1.0, 0.1), (0.1, 0.01), strict=True):
            assert schedule((step - 0.01) / epochs) == before and schedule(step / epochs) == after
        assert cfg.dataloader.train.total_batch_size == 16
        assert (cfg.optimizer.lr, cfg.optimizer.weight_decay) == (1e-4, 0.05)
    assert (base.optimizer.params.layer_decay, fine.optimizer.params.layer_decay) == (0.75, 0.8)
    assert base.train.max_iter == 24 * 7330
    for shots in (1, 2, 3, 5, 10, 30):
        fine.few_shot.shots = shots
        assert fine.train.max_iter == 108 * 80 * shots / 16  # of each of 80 classes
        assert fine.train.eval_period == fine.train.checkpointer.period == fine.train.max_iter / 18
    assert len(fine.dataloader.evaluator.novel_classes) == 20


def test_shots_without_a_schedule_need_their_iterations_set():
    cfg = load("few_shot/shapes_fine_tune.py")
    cfg.few_shot.shots = 30
    assert cfg.train.max_iter == 1200
    cfg.few_shot.shots = 7
    with pytest.raises(UserError, match=r"schedule\.7shot.*train\.max_iter"):
        check_settings(cfg)
    cfg.train.max_iter = 300
    check_settings(cfg)


def test_few_shot_fine_tuning_trains_what_the_authors_train():
    cfg = load("few_shot/imted_faster_rcnn_vit_base_fine_tuning.py")
    model = build(cfg)
    freeze(model, cfg.train.frozen)
    layers = {n.rpartition(".")[0] for n, p in model.named_parameters() if p.requires_grad}
    backbone = {name.removeprefix("backbone.") for name in layers if name.startswith("backbone.")}
    # Of each level the two convolutions and their norms, which come after the upsampling.
    convolutions = {"simfp_2": (4, 5), "simfp_3": (1, 2), "simfp_4": (0, 1), "simfp_5": (1, 2)}
    assert backbone == {
        f"{level}.{i}{norm}" for level, both in convolutions.items() for i in both
        for norm in ("", ".norm")
    }  # fmt: skip
    assert {"roi_heads.box_pooler.projection", "roi_heads.box_head.norm"} <= layers
    assert any(name.startswith("proposal_generator.") for name in layers)
    cfg.optimizer.params.model = model
    rates = {
        p: group["lr"] / 1e-4
        for group in instantiate(cfg.optimizer).param_groups
        for p in group["params"]
    }
    head = model.roi_heads.box_head
    assert rates[head.norm.weight] == pytest.approx(0.8**9)
    assert rates[head.decoder_embed.weight] == pytest.approx(0.8**9)
    assert rates[head.decoder_blocks[0].mlp.fc1.weight] == pytest.approx(0.8**8)
    assert rates[head.decoder_blocks[7].mlp.fc1.weight] == pytest.approx(0.8)
    assert rates[head.box_norm.weight] == 1

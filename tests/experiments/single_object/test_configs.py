"""The variants of the single-object configs."""

import pytest
from config_files import build, load, shapes
from detectron2.config import instantiate


@pytest.mark.parametrize("name", ["single_object/vit_base.py", "single_object/shapes.py"])
def test_variants_of_the_single_object_configs_differ_in_the_decoder_alone(name):
    found = {}
    for variant in ("encoder", "random_decoder", "pretrained_decoder"):
        cfg = load(name)
        cfg.model.variant = variant  # one value sets them all
        assert cfg.train.output_dir.endswith(f"{variant}_seed0")
        found[variant] = build(cfg)
    assert shapes(found["random_decoder"]) == shapes(found["pretrained_decoder"])
    encoder, decoder = (
        {key for key in found[variant].state_dict() if not key.startswith("box_head.decoder_")}
        for variant in ("encoder", "pretrained_decoder")
    )
    assert encoder == decoder == set(found["encoder"].state_dict())

    # The encoder's layers decay as a detector's do.
    cfg.optimizer.params.model = model = found["pretrained_decoder"]
    groups = instantiate(cfg.optimizer).param_groups
    rates = {p: group["lr"] / cfg.optimizer.lr for group in groups for p in group["params"]}
    blocks = model.backbone["net"].blocks
    assert rates[blocks[0].mlp.fc1.weight] == pytest.approx(0.75 ** len(blocks))
    assert rates[model.box_head.decoder_embed.weight] == 1

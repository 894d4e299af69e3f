import pytest

from imted.checkpoint import LoadReport, load_checkpoint
from imted.modeling.roi_heads import VARIANTS


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("variant", list(VARIANTS))
def test_every_tensor_of_file_and_model_is_accounted_for_once(
    small_detector, mae_file, variant, masks
):
    path, weights = mae_file()
    model = small_detector(variant, masks)
    report = load_checkpoint(model, path)
    assert sorted([*report.loaded, *report.fresh]) == sorted(model.state_dict())
    assert sorted([*report.loaded.values(), *report.left_out]) == sorted(weights)


def test_reasons(small_detector, mae_file):
    path, _ = mae_file()
    report = load_checkpoint(small_detector("random_decoder"), path)
    assert (
        report.fresh["roi_heads.box_pooler.scale"] == "starts at its initial value, zero by default"
    )
    assert report.fresh["roi_heads.box_pooler.projection.weight"] == "starts at random"
    # The decoder's positions are a fixed table, whether its blocks migrate or not.
    assert report.fresh["roi_heads.box_head.decoder_pos_embed"] != "starts at random"
    for key in ("mask_token", "decoder_pred.weight", "decoder_norm.bias"):
        assert report.left_out[key] == "serves pixel reconstruction only"
    assert "does not take it over" in report.left_out["decoder_embed.weight"]


def test_the_table_is_logged(small_detector, mae_file, caplog, monkeypatch):
    import logging

    monkeypatch.setattr(logging.getLogger("imted"), "propagate", True)
    path, _ = mae_file()
    with caplog.at_level("DEBUG", logger="imted"):
        report = load_checkpoint(small_detector(), path)
    assert report.table() in caplog.text
    assert path in report.table()


def test_the_summary_counts_the_levels_of_a_pyramid_together():
    names = ["backbone.net.a", "backbone.simfp_2.0.weight", "backbone.simfp_3.0.weight"]
    report = LoadReport("mae.pth", loaded=dict.fromkeys(names, "x"))
    (line,) = report.summary()
    assert line == "mae.pth: 3 tensors loaded: 1 into backbone.net, 2 into backbone.simfp"


def test_a_row_for_each_module():
    report = LoadReport(
        "mae.pth",
        loaded={
            "backbone.net.pos_embed": "pos_embed",
            "backbone.net.blocks.0.norm1.weight": "blocks.0.norm1.weight",
            "backbone.net.blocks.1.norm1.weight": "blocks.1.norm1.weight",
            "roi_heads.box_head.decoder_blocks.0.norm1.bias": "decoder_blocks.0.norm1.bias",
        },
        adapted={"backbone.net.pos_embed": "resized to the grid"},
        left_out={"decoder_pred.weight": "pixels", "decoder_pred.bias": "pixels"},
        fresh={"roi_heads.box_pooler.scale": "zero"},
    )
    lines = report.table().splitlines()
    assert "mae.pth" in lines[0]
    rows = [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in lines[3:]]
    assert rows == [
        ("pos_embed", "backbone.net.pos_embed", "1", "loaded, resized to the grid"),
        ("blocks", "backbone.net.blocks", "2", "loaded"),
        ("decoder_blocks", "roi_heads.box_head.decoder_blocks", "1", "loaded"),
        ("decoder_pred", "", "2", "left out: pixels"),
        ("", "roi_heads.box_pooler.scale", "1", "new: zero"),
    ]

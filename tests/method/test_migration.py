import re

import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import LazyConfig, instantiate
from fixtures.weights import official_weights
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch.nn.functional import interpolate

from imted.checkpoint import load_checkpoint
from imted.compat import detectron2_config_file
from imted.errors import UserError
from imted.modeling import WindowedEncoder

ENCODER = ("patch_embed", "cls_token", "pos_embed", "blocks")
HEAD = "roi_heads.box_head."
# variant: parts of the MAE that its box head takes over
MIGRATES = {
    "baseline": (),
    "decoder_head": ("decoder_pos_embed", "decoder_blocks"),
    "integral": ("norm", "decoder_embed", "decoder_pos_embed", "decoder_blocks"),
    "imted": ("norm", "decoder_embed", "decoder_pos_embed", "decoder_blocks"),
    "random_decoder": ("norm",),
    "random_integral": ("norm",),
    "random_decoder_head": (),
}
DECODER_PARTS = ("decoder_", "mask_token", "norm.")


def snapshot(model) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def assert_equal(found: dict, expected: dict):
    assert found.keys() == expected.keys()
    assert not [name for name, value in expected.items() if not torch.equal(found[name], value)]


def assert_refused(model, path, match, **kwargs):
    """The file is refused in one sentence, and the model stays as it was."""
    before = snapshot(model)
    with pytest.raises(UserError, match=match) as caught:
        load_checkpoint(model, path, **kwargs)
    assert path in str(caught.value)
    assert "\n" not in str(caught.value)
    assert_equal(model.state_dict(), before)


def expected_migration(model, weights, variant) -> dict[str, torch.Tensor]:
    """What the model's state must be: MAE tensors by name, all others as they were."""
    expected = snapshot(model)
    for key, value in weights.items():
        part = key.split(".")[0]
        if part in ENCODER:
            expected[f"backbone.net.{key}"] = value.float()
        elif part in MIGRATES[variant]:
            expected[f"{HEAD}{key}"] = value.float()
    assert expected.keys() == model.state_dict().keys()
    return expected


@pytest.mark.parametrize("masks", [False, True])
@pytest.mark.parametrize("variant", MIGRATES)
def test_every_tensor_lands_where_it_belongs(small_detector, mae_file, variant, masks):
    path, weights = mae_file()
    model = small_detector(variant, masks)
    expected = expected_migration(model, weights, variant)
    report = load_checkpoint(model, path)
    assert_equal(model.state_dict(), expected)
    changed = len([k for k in weights if k.split(".")[0] in (*ENCODER, *MIGRATES[variant])])
    assert len(report.loaded) == changed
    if variant in ("imted", "random_decoder"):
        assert not model.roi_heads.box_pooler.scale.any()


@pytest.mark.parametrize("name", ["mae.safetensors", "mae.pth"])
def test_what_save_mae_writes_migrates(small_detector, saved_mae, name):
    path, mae = saved_mae(name)
    model = small_detector()
    expected = expected_migration(model, official_weights(mae), "imted")
    load_checkpoint(model, path)
    assert_equal(model.state_dict(), expected)


def test_half_precision_weights_migrate(small_detector, mae_file):
    path, weights = mae_file()
    half = {key: value.half() for key, value in weights.items()}
    torch.save({"model": half}, path)
    model = small_detector()
    expected = expected_migration(model, half, "imted")
    load_checkpoint(model, path)
    assert_equal(model.state_dict(), expected)
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}


def test_a_pretraining_runs_own_checkpoint_migrates(small_detector, small_mae, tmp_path):
    mae = small_mae(seed=7)
    path = str(tmp_path / "model_final.pth")
    torch.save({"model": mae.state_dict(), "iteration": 5, "trainer": {"iteration": 5}}, path)
    model = small_detector()
    expected = expected_migration(model, official_weights(mae), "imted")
    load_checkpoint(model, path)
    assert_equal(model.state_dict(), expected)


@pytest.mark.parametrize("own", [False, True])
def test_a_masked_autoencoder_takes_all_of_its_file(small_mae, mae_file, tmp_path, own):
    path, weights = mae_file()
    other, model = small_mae(seed=1), small_mae(seed=2)
    load_checkpoint(other, path)
    if own:
        path = str(tmp_path / "model_final.pth")
        torch.save({"model": other.state_dict()}, path)
    report = load_checkpoint(model, path)
    assert_equal(official_weights(model), weights)
    assert not report.fresh and not report.left_out


# The grids of encoder and decoder grow and shrink.
@pytest.mark.parametrize("grid", [6, 3])
def test_positions_are_resized_to_another_grid(small_detector, mae_file, grid):
    path, weights = mae_file(
        encoder=dict(pretrain_img_size=16 * grid), decoder=dict(grid_size=grid)
    )
    model = small_detector()
    report = load_checkpoint(model, path)
    names = {"pos_embed": "backbone.net.pos_embed", "decoder_pos_embed": f"{HEAD}decoder_pos_embed"}
    assert report.adapted == dict.fromkeys(names.values(), "resized to the grid")
    for key, name in names.items():
        table = weights[key]
        patches = table[:, 1:].reshape(1, grid, grid, -1).permute(0, 3, 1, 2)
        patches = interpolate(patches, size=(4, 4), mode="bicubic", align_corners=False)
        found = model.state_dict()[name]
        assert torch.equal(found[:, 0], table[:, 0])  # the class token's row
        torch.testing.assert_close(found[:, 1:], patches.flatten(2).transpose(1, 2))


# As MAE's ViT-H, whose patches of 14 pixels become 16: larger and smaller kernels.
@pytest.mark.parametrize("size", [14, 20])
def test_patch_embedding_is_resampled_to_another_patch_size(small_detector, mae_file, size):
    path, weights = mae_file(encoder=dict(patch_size=size), decoder=dict(patch_size=size))
    model = small_detector()
    report = load_checkpoint(model, path)
    name = "backbone.net.patch_embed.proj.weight"
    assert report.adapted[name] == "resampled to the patch size"
    assert re.search(r"backbone\.net\.patch_embed +\| +1 \| loaded, resampled", report.table())
    kernel = weights["patch_embed.proj.weight"]
    assert kernel.shape == (32, 3, size, size)
    expected = interpolate(kernel, size=(16, 16), mode="bicubic", align_corners=False)
    torch.testing.assert_close(model.state_dict()[name], expected)


def test_a_masked_autoencoder_of_another_patch_size_is_refused(small_mae, mae_file):
    path, _ = mae_file(encoder=dict(patch_size=8), decoder=dict(patch_size=8))
    assert_refused(small_mae(), path, r"another size.*'decoder_pred\.weight'")


@pytest.mark.parametrize("variant", ["decoder_head", "integral", "imted"])
@pytest.mark.parametrize("keep_norm", [True, False])
def test_an_encoder_alone_is_refused_where_the_decoder_migrates(
    small_detector, mae_file, variant, keep_norm
):
    path, _ = mae_file("mae.pth", drop=DECODER_PARTS[: 2 if keep_norm else 3])
    assert_refused(
        small_detector(variant),
        path,
        r"without its decoder.*roi_heads\.box_head.*_full.*random_decoder",
    )


@pytest.mark.parametrize("variant", ["baseline", "random_decoder"])
def test_an_encoder_alone_is_enough_without_a_migrated_decoder(small_detector, mae_file, variant):
    path, weights = mae_file("mae.pth", drop=DECODER_PARTS[:2])  # as published: with its norm
    model = small_detector(variant)
    expected = expected_migration(model, weights, variant)
    load_checkpoint(model, path)
    assert_equal(model.state_dict(), expected)


def test_timms_mae_is_an_encoder_alone(small_detector, tmp_path):
    vit = VisionTransformer(img_size=64, embed_dim=32, depth=3, num_heads=2, num_classes=0)
    path = tmp_path / "model.safetensors"  # as timm publishes vit_base_patch16_224.mae
    save_file(vit.state_dict(), str(path))
    assert_refused(small_detector("imted"), str(path), "without its decoder")
    model = small_detector("baseline").eval()
    load_checkpoint(model, str(path))
    vit.norm = torch.nn.Identity()  # the pyramid reads what comes before it
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        found = model.backbone.net(image)["last_feat"].flatten(2).mT
        torch.testing.assert_close(found, vit.eval().forward_features(image)[:, 1:])


@pytest.mark.parametrize(
    ("sizes", "match"),
    [
        (dict(encoder=dict(embed_dim=64)), "another size"),
        (dict(encoder=dict(depth=4)), r"another size.*blocks\.3.*absent in the model"),
        (dict(encoder=dict(depth=2)), r"is missing 'blocks\.2"),
        (dict(decoder=dict(dim=32)), "another size"),
        (dict(decoder=dict(depth=3)), r"another size.*decoder_blocks\.2.*absent in the model"),
        (dict(decoder=dict(depth=1)), r"is missing 'decoder_blocks\.1"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("into", ["detector", "mae"])
def test_another_size_is_refused(small_detector, small_mae, mae_file, sizes, match, into):
    path, _ = mae_file(**sizes)
    assert_refused(small_detector() if into == "detector" else small_mae(), path, match)


def test_a_missing_tensor_is_refused(small_detector, mae_file):
    path, _ = mae_file(drop=("blocks.1.mlp.fc1.bias",))
    assert_refused(small_detector(), path, r"is missing 'blocks\.1\.mlp\.fc1\.bias'")


def test_other_weights_are_refused(small_detector, small_mae, tmp_path):
    path = str(tmp_path / "resnet.pth")
    torch.save({"stem.conv1.weight": torch.zeros(3)}, path)
    for model in (small_detector(), small_mae()):
        assert_refused(model, path, r"neither a MAE checkpoint.*'stem\.conv1\.weight'")


def test_a_detector_is_no_masked_autoencoder(small_detector, small_mae, detector_file):
    assert_refused(small_mae(), detector_file(small_detector()), "neither a MAE checkpoint")


@pytest.fixture
def detector_file(tmp_path):
    """Save a detector as training does."""

    def save(model):
        path = str(tmp_path / "model_final.pth")
        torch.save({"model": model.state_dict(), "iteration": 3}, path)
        return path

    return save


@pytest.mark.parametrize("variant", MIGRATES)
def test_a_detectors_own_file_loads_as_it_is(small_detector, detector_file, variant):
    trained, model = small_detector(variant, True, seed=1), small_detector(variant, True)
    if variant in ("imted", "random_decoder"):
        torch.nn.init.normal_(trained.roi_heads.box_pooler.scale)
    report = load_checkpoint(model, detector_file(trained))
    assert_equal(model.state_dict(), trained.state_dict())
    assert not report.fresh and not report.left_out


def test_masks_of_a_file_are_left_out_of_a_detector_of_boxes(small_detector, detector_file):
    trained, model = small_detector(masks=True, seed=1), small_detector()
    report = load_checkpoint(model, detector_file(trained))
    assert report.left_out
    assert all(key.startswith("roi_heads.mask_head.") for key in report.left_out)


@pytest.mark.parametrize("fine_tune", [False, True])
def test_a_detector_of_a_deeper_encoder_is_refused(
    small_detector, small_detector_config, detector_file, fine_tune
):
    cfg = small_detector_config()
    cfg.backbone.net.depth = 4
    path = detector_file(instantiate(cfg))
    assert_refused(small_detector(), path, r"blocks\.3", fine_tune=fine_tune)
    cfg.backbone.net.depth = 2
    path = detector_file(instantiate(cfg))
    assert_refused(small_detector(), path, r"is missing.*blocks\.2", fine_tune=fine_tune)


def test_one_regressor_for_all_classes_is_not_called_other_classes(
    small_detector, small_detector_config, detector_file
):
    cfg = small_detector_config()
    cfg.roi_heads.box_predictor.cls_agnostic_bbox_reg = True
    path = detector_file(instantiate(cfg))
    assert_refused(small_detector(), path, r"agree on the classes but not on cls_agnostic_bbox_reg")


@pytest.mark.parametrize("masks", [False, True])
def test_other_classes_are_refused_unless_fine_tuned(small_detector, detector_file, masks):
    trained = small_detector(masks=masks, num_classes=5, seed=1)
    torch.nn.init.normal_(trained.roi_heads.box_pooler.scale)
    path = detector_file(trained)
    model = small_detector(masks=masks)
    assert_refused(model, path, r"other classes.*'roi_heads\.")

    before = snapshot(model)
    report = load_checkpoint(model, path, fine_tune=True)
    layers = ["box_predictor.cls_score", "box_predictor.bbox_pred"]
    layers += ["mask_head.predictor"] if masks else []
    anew = {f"roi_heads.{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    assert set(report.fresh) == anew
    after, source = model.state_dict(), trained.state_dict()
    assert_equal(after, {k: before[k] if k in anew else source[k] for k in after})


def test_fine_tuning_on_the_same_classes_keeps_their_layers(small_detector, detector_file):
    trained, model = small_detector(seed=1), small_detector()
    load_checkpoint(model, detector_file(trained), fine_tune=True)
    assert_equal(model.state_dict(), trained.state_dict())


@pytest.mark.parametrize("use_rel_pos", [False, True])
def test_windowed_encoder_takes_the_same_file(small_detector_config, mae_file, use_rel_pos):
    cfg = small_detector_config()
    cfg.backbone.net = L(WindowedEncoder)(
        **{k: cfg.backbone.net[k] for k in ("embed_dim", "depth", "num_heads", "out_feature")},
        pretrain_img_size=64,
        img_size=128,
        window_size=3,
        window_block_indexes=(0, 1),
        use_rel_pos=use_rel_pos,
    )
    model = instantiate(cfg)
    path, weights = mae_file()
    report = load_checkpoint(model, path)
    state = model.state_dict()
    for key, value in weights.items():
        if key.split(".")[0] in ("patch_embed", "pos_embed", "blocks"):
            assert torch.equal(state[f"backbone.net.{key}"], value), key
    assert report.left_out["cls_token"] == "this encoder has no class token"
    assert any("rel_pos" in name for name in report.fresh) == use_rel_pos


@pytest.mark.parametrize("drop", [(), DECODER_PARTS])
def test_a_detector_of_detectron2s_own_takes_the_encoder_alone(mae_file, drop):
    cfg = LazyConfig.load(detectron2_config_file("common/models/mask_rcnn_vitdet.py")).model
    cfg.backbone.net.update(embed_dim=32, depth=3, num_heads=2, pretrain_img_size=64, img_size=128)
    model = instantiate(cfg)
    path, weights = mae_file(drop=drop)
    expected = snapshot(model)
    encoder = {key for key in weights if key.split(".")[0] in ENCODER} - {"cls_token"}
    expected |= {f"backbone.net.{key}": weights[key] for key in encoder}
    report = load_checkpoint(model, path)
    assert_equal(model.state_dict(), expected)
    assert set(report.loaded.values()) == encoder
    assert report.left_out.keys() == weights.keys() - encoder
    assert report.left_out.get("decoder_embed.weight") in (
        None,
        "the box head does not take it over",
    )

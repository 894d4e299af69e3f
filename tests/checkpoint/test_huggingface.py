"""Masked autoencoders of Hugging Face's transformers, against what that package computes.

`huggingface_mae` holds one of its models, randomly initialised, and what it made of an image;
`python tests/checkpoint/test_huggingface.py` wrote it, where transformers is installed.
"""

import json
import shutil
from pathlib import Path
from unittest import mock

import pytest
import torch
from fixtures.weights import official_weights
from safetensors.torch import load_file, save_file

from imted.checkpoint import load_checkpoint, read_state_dict, save_mae
from imted.checkpoint.huggingface import to_huggingface_layout
from imted.errors import UserError
from imted.modeling import MAEEncoder, MaskedAutoencoder, ReconstructionDecoder

FOLDER = Path(__file__).parent / "huggingface_mae"
SIZES = dict(
    hidden_size=24,
    num_hidden_layers=2,
    num_attention_heads=3,
    intermediate_size=96,
    image_size=32,
    patch_size=8,
    decoder_hidden_size=16,
    decoder_num_hidden_layers=1,
    decoder_num_attention_heads=2,
    decoder_intermediate_size=64,
    norm_pix_loss=True,
    layer_norm_eps=1e-6,
)


def build_mae():
    return MaskedAutoencoder(
        encoder=MAEEncoder(embed_dim=24, depth=2, num_heads=3, patch_size=8, pretrain_img_size=32),
        decoder=ReconstructionDecoder(
            encoder_dim=24, patch_size=8, dim=16, depth=1, num_heads=2, grid_size=4
        ),
        pixel_mean=[0.0, 0.0, 0.0],
        pixel_std=[1.0, 1.0, 1.0],
    ).eval()


def compute(model, image, noise):
    """Return our latent tokens, prediction and loss."""
    latents = []
    hook = model.decoder.norm.register_forward_hook(lambda *args: latents.append(args[-1]))
    with torch.no_grad(), mock.patch("torch.rand", lambda *args, **kwargs: noise):
        prediction, _ = model.reconstruct(image)
        loss = model([{"image": image[0]}])["loss_reconstruction"]
    hook.remove()
    return dict(latent=latents[0], prediction=prediction, loss=loss)


def assert_equal(found, expected):
    for name, value in found.items():
        error = (value - expected[name]).norm() / expected[name].norm()
        assert error < 1e-5, name


@pytest.fixture
def golden():
    return load_file(FOLDER / "golden.safetensors")


def test_it_computes_what_transformers_has_computed(golden):
    model = build_mae()
    report = load_checkpoint(model, str(FOLDER))
    assert not report.fresh and not report.left_out
    assert_equal(compute(model, golden["image"], golden["noise"]), golden)


def test_transformers_reads_what_we_write(tmp_path, golden):
    transformers = pytest.importorskip("transformers")
    model = build_mae()
    torch.nn.init.normal_(model.encoder.blocks[0].attn.qkv.bias)
    save_mae(model, str(tmp_path / "mae"))
    theirs, info = transformers.ViTMAEForPreTraining.from_pretrained(
        tmp_path / "mae", output_loading_info=True
    )
    assert not info["missing_keys"] and not info["unexpected_keys"]
    image, noise = golden["image"], golden["noise"]
    with torch.no_grad():
        out = theirs.eval()(image, noise=noise)
        latent = theirs.vit(image, noise=noise).last_hidden_state
    expected = dict(latent=latent, prediction=out.logits, loss=out.loss)
    assert_equal(compute(model, image, noise), expected)


def test_there_and_back(tmp_path):
    model, other = build_mae(), build_mae()
    model.pixel_mean += 120
    model.pixel_std += 50
    model.mask_ratio = 0.6
    save_mae(model, str(tmp_path / "mae"))
    load_checkpoint(other, str(tmp_path / "mae"))
    for key, value in model.state_dict().items():
        torch.testing.assert_close(other.state_dict()[key], value, rtol=0, atol=0)
    written = json.loads((tmp_path / "mae" / "config.json").read_text())
    assert {key: written[key] for key in SIZES} == SIZES
    assert written["mask_ratio"] == 0.6
    # transformers scales bytes to 1 before it normalises them.
    preprocessor = json.loads((tmp_path / "mae" / "preprocessor_config.json").read_text())
    byte = 137.0
    ours = (byte - model.pixel_mean.flatten()) / model.pixel_std.flatten()
    theirs = [
        (byte * preprocessor["rescale_factor"] - mean) / std
        for mean, std in zip(preprocessor["image_mean"], preprocessor["image_std"], strict=True)
    ]
    assert ours.tolist() == pytest.approx(theirs, rel=1e-5)
    side = written["image_size"]
    assert preprocessor["size"] == {"height": side, "width": side}


def test_older_files_name_the_decoders_layers_otherwise(tmp_path, golden):
    weights = load_file(FOLDER / "model.safetensors")
    for old, new in (("decoder_layers", "decoder_encoder.layer"), ("decoder_layers",) * 2):
        renamed = {
            key.replace("decoder_encoder.layer", "decoder_layers").replace(old, new): value
            for key, value in weights.items()
        }
        torch.save(renamed, tmp_path / "pytorch_model.bin")
        model = build_mae()
        load_checkpoint(model, str(tmp_path))
        assert_equal(compute(model, golden["image"], golden["noise"]), golden)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """Put a model into the hub's cache, and cut the connection."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    snapshot = tmp_path / "models--somebody--mae" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("0" * 40)
    return snapshot


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_the_hubs_cache_serves_offline(hub, name):
    if name.endswith(".bin"):
        torch.save(load_file(FOLDER / "model.safetensors"), hub / name)
    else:
        shutil.copy(FOLDER / name, hub / name)
    report = load_checkpoint(build_mae(), "hf://somebody/mae")
    assert not report.fresh and not report.left_out


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("hf://nobody/mae", "it isn't in the cache, and the hub can't be reached"),
        ("hf://mae", "written hf://OWNER/NAME"),
    ],
)
def test_what_the_hub_hasnt_is_one_sentence(hub, path, message):
    with pytest.raises(UserError, match=message) as caught:
        read_state_dict(path)
    assert "\n" not in str(caught.value)


def test_a_part_of_queries_keys_and_values_is_named(tmp_path):
    weights = load_file(FOLDER / "model.safetensors")
    del weights["vit.encoder.layer.1.attention.attention.key.weight"]
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match=r"missing 'blocks\.1\.attn\.qkv\.weight'"):
        load_checkpoint(build_mae(), str(tmp_path))


def test_names_are_transformers_own():
    ours = to_huggingface_layout(official_weights(build_mae()))
    theirs = load_file(FOLDER / "model.safetensors")
    shapes = {
        key.replace("decoder_encoder.layer", "decoder_layers"): tuple(value.shape)
        for key, value in theirs.items()
    }
    assert {key: tuple(value.shape) for key, value in ours.items()} == shapes


def write_golden():
    from transformers import ViTMAEConfig, ViTMAEForPreTraining

    torch.manual_seed(0)
    model = ViTMAEForPreTraining(ViTMAEConfig(**SIZES)).eval()
    for parameter in model.parameters():  # else biases and norms are zeros and ones
        torch.nn.init.normal_(parameter, std=0.1) if parameter.ndim == 1 else None
    image, noise = torch.randn(1, 3, 32, 32), torch.rand(1, 16)
    with torch.no_grad():
        out = model(image, noise=noise)
        latent = model.vit(image, noise=noise).last_hidden_state
    model.save_pretrained(FOLDER)
    found = dict(image=image, noise=noise, latent=latent, prediction=out.logits, loss=out.loss)
    save_file({k: v.contiguous() for k, v in found.items()}, FOLDER / "golden.safetensors")


if __name__ == "__main__":
    write_golden()

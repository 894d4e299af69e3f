"""Masked autoencoders as Hugging Face publishes them: `ViTMAEForPreTraining` of transformers.

There, queries, keys and values are separate, and other names stand for the same weights.
"""

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, cast

import torch
from detectron2.utils.file_io import PathHandler, PathManager
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError
from timm.models.vision_transformer import Block

from imted.modeling import MaskedAutoencoder

WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
"""The file of a model's weights, in its folder or on the hub; the first that is there."""
_PATCHES = "embeddings.patch_embeddings.projection.weight"
_OUTSIDE = {  # name here -> name there, outside of the blocks
    "cls_token": "vit.embeddings.cls_token",
    "pos_embed": "vit.embeddings.position_embeddings",
    "patch_embed.proj": "vit.embeddings.patch_embeddings.projection",
    "norm": "vit.layernorm",
    "mask_token": "decoder.mask_token",
    "decoder_embed": "decoder.decoder_embed",
    "decoder_pos_embed": "decoder.decoder_pos_embed",
    "decoder_norm": "decoder.decoder_norm",
    "decoder_pred": "decoder.decoder_pred",
}
_INSIDE = {
    "norm1": "layernorm_before",
    "norm2": "layernorm_after",
    "attn.proj": "attention.output.dense",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
}
_QKV = ("query", "key", "value")
# Version 5 of transformers writes the decoder's layers under another name than it publishes them.
_LAYER = re.compile(
    r"(vit\.encoder\.layer|decoder\.decoder_layers|decoder\.decoder_encoder\.layer)\.(\d+)\.(.+)"
)


def is_huggingface(keys: Iterable[str]) -> bool:
    """Tell whether weights of these names are a ViT MAE of transformers'."""
    return any(key in (_PATCHES, f"vit.{_PATCHES}") for key in keys)


def to_official_layout(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give the weights of transformers' ViT MAE the names of MAE's own files.

    Queries, keys and values become one tensor. What has no such name keeps its own, and so is
    named where nothing may be left over.
    """
    outside = {theirs: ours for ours, theirs in _OUTSIDE.items()}
    inside = {theirs: ours for ours, theirs in _INSIDE.items()}
    found: dict[str, torch.Tensor] = {}
    separate: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in weights.items():
        full = key if key.startswith(("vit.", "decoder.")) else f"vit.{key}"  # ViTMAEModel's
        name, _, kind = full.rpartition(".")
        if match := _LAYER.fullmatch(full):
            stack, number, rest = match.groups()
            block = f"{'' if stack.startswith('vit') else 'decoder_'}blocks.{number}"
            module, _, kind = rest.rpartition(".")
            part = module.removeprefix("attention.attention.")
            if part in _QKV:
                separate.setdefault(f"{block}.attn.qkv.{kind}", {})[part] = value
            else:
                found[f"{block}.{inside.get(module, module)}.{kind}"] = value
        elif full in outside:
            found[outside[full]] = value
        else:
            found[f"{outside[name]}.{kind}" if name in outside else key] = value
    for key, parts in separate.items():
        if parts.keys() == set(_QKV):  # else the loader says that `key` is missing
            found[key] = torch.cat([parts[part] for part in _QKV])
    return found


def to_huggingface_layout(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give weights with the names of MAE's own files those of transformers' ViT MAE."""
    found = {}
    for key, value in weights.items():
        name, _, kind = key.rpartition(".")
        if match := re.fullmatch(r"(decoder_)?blocks\.(\d+)\.(.+)", name):
            in_decoder, number, module = match.groups()
            stack = "decoder.decoder_layers" if in_decoder else "vit.encoder.layer"
            layer = f"{stack}.{number}"
            if module == "attn.qkv":
                for part, third in zip(_QKV, value.chunk(3), strict=True):
                    found[f"{layer}.attention.attention.{part}.{kind}"] = third
            else:
                found[f"{layer}.{_INSIDE[module]}.{kind}"] = value
        else:
            found[_OUTSIDE[key] if key in _OUTSIDE else f"{_OUTSIDE[name]}.{kind}"] = value
    return found


def describe_model(model: MaskedAutoencoder) -> dict[str, dict[str, Any]]:
    """Return what transformers reads beside the weights, by file name."""
    side = round((model.encoder.pos_embed.shape[1] - 1) ** 0.5) * model.encoder.patch_size
    preprocessor = {
        "image_processor_type": "ViTImageProcessor",
        "do_resize": True,
        "size": {"height": side, "width": side},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [value / 255 for value in model.pixel_mean.flatten().tolist()],
        "image_std": [value / 255 for value in model.pixel_std.flatten().tolist()],
    }
    return {"config.json": _config(model, side), "preprocessor_config.json": preprocessor}


def _config(model: MaskedAutoencoder, side: int) -> dict[str, Any]:
    encoder, decoder = model.encoder.blocks, model.decoder.decoder_blocks
    first, first_decoder = cast(Block, encoder[0]), cast(Block, decoder[0])
    return {
        "architectures": ["ViTMAEForPreTraining"],
        "model_type": "vit_mae",
        "image_size": side,
        "patch_size": model.encoder.patch_size,
        "hidden_size": model.encoder.pos_embed.shape[2],
        "num_hidden_layers": len(encoder),
        "num_attention_heads": first.attn.num_heads,
        "intermediate_size": first.mlp.fc1.out_features,
        "decoder_hidden_size": model.decoder.decoder_embed.out_features,
        "decoder_num_hidden_layers": len(decoder),
        "decoder_num_attention_heads": first_decoder.attn.num_heads,
        "decoder_intermediate_size": first_decoder.mlp.fc1.out_features,
        "layer_norm_eps": model.decoder.norm.eps,
        "mask_ratio": model.mask_ratio,
        "norm_pix_loss": model.norm_pix_loss,
    }


class _HubHandler(PathHandler):
    """Fetch hf://OWNER/NAME, or hf://OWNER/NAME@REVISION, from the hub or its cache."""

    PREFIX = "hf://"

    def _get_supported_prefixes(self) -> list[str]:
        return [self.PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: Any) -> str:
        name, _, revision = path.removeprefix(self.PREFIX).partition("@")
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
            raise ValueError("a model of the hub is written hf://OWNER/NAME or .../NAME@REVISION")
        for file in () if force else WEIGHT_FILES:  # asking the hub first takes time offline
            with suppress(LocalEntryNotFoundError):
                return hf_hub_download(name, file, revision=revision or None, local_files_only=True)
        for file in WEIGHT_FILES:
            try:
                return hf_hub_download(name, file, revision=revision or None, force_download=force)
            except LocalEntryNotFoundError:
                raise ValueError("it isn't in the cache, and the hub can't be reached") from None
            except EntryNotFoundError:
                continue
        raise ValueError(f"it has no {' or '.join(WEIGHT_FILES)}")


PathManager.register_handler(_HubHandler(), allow_override=True)

"""Values of settings that no run should have: each key of a config with each of them, and more."""

import random
from collections.abc import Iterator

from cases import CONFIG, FINE, REFUSED, Case

VALUES = ("null", "0", "-1", "1e9", "nan", "inf", "-inf", "word", "[]", "1180591620717411303424")
LEFT_OUT = ("train.output_dir", "dataset.train", "dataset.val", "train.ddp")
"""Keys that say where, not how."""

RUINOUS = (
    *("optimizer.lr=nan", "optimizer.lr=inf", "optimizer.lr=-1e-4", "optimizer.weight_decay=nan"),
    *("optimizer.betas=[2,0.9]", "optimizer.betas=[0.9,nan]", "optimizer.eps=-1"),
    *("lr_multiplier.warmup_length=2.0", "lr_multiplier.warmup_length=nan"),
    *("lr_multiplier.warmup_factor=-1.0", "lr_multiplier.warmup_factor=inf"),
    *("optimizer.params.layer_decay=-0.5", "optimizer.params.layer_decay=nan"),
    *("train.ema={enabled:true,decay:2.0}", "train.ema={enabled:true,decay:1.0}"),
    *("model.roi_heads.positive_fraction=2.0", "model.roi_heads.positive_fraction=-0.1"),
    *("model.roi_heads.batch_size_per_image=0", "model.roi_heads.batch_size_per_image=-4"),
    *("model.roi_heads.num_classes=7", "model.roi_heads.num_classes=0"),
    *("train.best_metric=bbox/APP", "train.best_metric=AP", "train.seed=1180591620717411303424"),
    *("train.max_bad_steps=0", "train.clip_grad={enabled:true,max_norm:nan}"),
    *("model.backbone.net.num_heads=5", "model.backbone.net.num_heads=0"),
    *("dataloader.evaluator=null", "optimizer=null", "model=null"),
    *("model.roi_heads.box_predictor.test_nms_thresh=nan", "model.pixel_std=[0,1,1]"),
    *("model.roi_heads.box_predictor.test_score_thresh=2.0", "model.pixel_mean=[nan,1,1]"),
    *("dataloader.train.mapper.image_format=XYZ", "model.backbone.net.drop_path_rate=1.5"),
)
GOOD = (
    *("train.best_metric=segm/AP50", "train.best_metric=bbox/AP-a", "train.best_metric=''"),
    *("train.ema={enabled:true,decay:0.9}", "optimizer.weight_decay=0.0", "train.max_iter=2"),
    *("lr_multiplier.warmup_length=1.0", "optimizer.betas=[0.8,0.9]", "train.seed=4294967295"),
    "dataloader.test=null",
)


def cases(number: int, seed: int) -> Iterator[Case]:
    """Yield what must be refused, what mustn't, and a sample of every key with every value."""
    for word in RUINOUS:
        key = word.partition("=")[0].split(".")[-1]
        yield Case(word, (word,), verdict=REFUSED, mentions=key)
    for word in GOOD:
        yield Case(word, (word,), verdict=FINE)
    words = [f"{key}={value}" for key in _keys() for value in VALUES]
    for word in random.Random(seed).sample(words, min(number, len(words))):
        yield Case(word, (word,))


def _keys() -> list[str]:
    from imted.config.load import load_config

    from omegaconf import DictConfig

    def walk(node: DictConfig, prefix: str) -> Iterator[str]:
        for name in node:
            key, value = f"{prefix}{name}", node._get_node(name)
            if name == "_target_" or key.startswith(LEFT_OUT):
                continue
            yield key
            if isinstance(value, DictConfig) and not value._is_none():
                yield from walk(value, f"{key}.")

    return list(walk(load_config(CONFIG), ""))

"""What to change when the memory of a GPU is full."""

from detectron2.utils import comm
from omegaconf import DictConfig, OmegaConf

_SAVERS = (
    ("train.amp.enabled", "half precision"),
    ("model.backbone.net.use_act_checkpoint", "blocks computed twice"),
    ("model.roi_heads.box_head.use_act_checkpoint", "the decoder's, too"),
)
"""Keys that are false and save memory as true, and what they do."""


def memory_sentence(cfg: DictConfig) -> str:
    """Name the keys that save memory in this run, with values that leave its results as they are.

    A smaller batch is made up for by as many more accumulation steps. Only where that has come to
    its end are fewer RoIs sampled, which changes the training.

    Args:
        cfg: The config of the training that has run out of memory.
    """
    batch, steps = cfg.dataloader.train.total_batch_size, cfg.train.accumulation_steps
    world = comm.get_world_size()
    smaller = [n for n in range(world, batch, world) if batch % n == 0]
    fixes = []
    if smaller:
        fixes.append(
            f"dataloader.train.total_batch_size={smaller[-1]} "
            f"train.accumulation_steps={steps * batch // smaller[-1]} (an iteration keeps its "
            f"{batch * steps} images)"
        )
    fixes += [f"{key}=true ({what})" for key, what in _SAVERS if _is_off(cfg, key)]
    rois = OmegaConf.select(cfg, "model.roi_heads.batch_size_per_image")
    if not fixes and isinstance(rois, int) and rois > 1:
        fixes.append(
            f"model.roi_heads.batch_size_per_image={rois // 2} (fewer RoIs; results change)"
        )
    if not fixes:
        return "The GPU's memory is full; use smaller images or a smaller model."
    return f"The GPU's memory is full; set {', or '.join(fixes)}."


def _is_off(cfg: DictConfig, key: str) -> bool:
    return OmegaConf.select(cfg, key) is False

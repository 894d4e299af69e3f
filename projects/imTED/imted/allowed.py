"""What data may name: classes and functions that do no harm, whatever they are called with.

A run's config.yaml and a checkpoint's description often come with somebody else's weights. They
are data, so a name in them is looked up here before anything is called by it.
"""

import argparse
import functools
import inspect
import re
from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from detectron2.utils.registry import locate

from imted.errors import UserError

HOMES = (
    *("imted.", "detectron2.", "timm.", "fvcore.", "torchvision."),
    *("torch.nn.", "torch.optim.", "torch.utils.data."),
)
"""Where classes may be from. Nothing of other packages is imported to find out what a name is."""
BASES = {
    "detectron2.data.dataset_mapper.DatasetMapper",
    "detectron2.data.transforms.augmentation.Augmentation",
    "detectron2.evaluation.evaluator.DatasetEvaluator",
    "detectron2.layers.shape_spec.ShapeSpec",
    "detectron2.modeling.box_regression.Box2BoxTransform",
    "detectron2.modeling.box_regression.Box2BoxTransformLinear",
    "detectron2.modeling.box_regression.Box2BoxTransformRotated",
    "detectron2.modeling.matcher.Matcher",
    "fvcore.common.param_scheduler.ParamScheduler",
    "fvcore.transforms.transform.Transform",
    "imted.data.dataset.CocoDataset",
    "imted.data.images.PretrainMapper",
    "torch.nn.modules.module.Module",
    "torch.optim.optimizer.Optimizer",
    "torch.utils.data.sampler.Sampler",
    "torchvision.transforms.transforms.Compose",
}
"""Any class from there may be called that is one of these or derives from one."""
CALLS = {
    "detectron2.data.build.build_detection_test_loader",
    "detectron2.data.build.build_detection_train_loader",
    "detectron2.data.build.get_detection_dataset_dicts",
    "detectron2.data.detection_utils.get_fed_loss_cls_weights",
    "detectron2.data.samplers.distributed_sampler.RepeatFactorTrainingSampler."
    "repeat_factors_from_category_frequency",
    "detectron2.modeling.backbone.resnet.ResNet.make_default_stages",
    "detectron2.modeling.backbone.resnet.ResNet.make_stage",
    "detectron2.modeling.backbone.vit.get_vit_lr_decay_rate",
    "detectron2.solver.build.get_default_optimizer_params",
    "imted.data.dataset.dataset_dicts",
    "imted.data.dataset.count_classes",
    "imted.data.images.list_images",
    "imted.data.lvis.federated_loss_weights",
    "imted.data.train_loader.build_train_loader",
    "imted.training.optimizer.layer_decay_param_groups",
}
"""And what else configs call. An experiment adds its own, by where they are defined."""
MAX_VALUES = 100_000
"""The most values that a config or a checkpoint's description may have."""
RENAMED = {
    "imted.coco_check.dataset.": "imted.data.dataset.",
    "imted.data.catalog.": "imted.data.dataset.",
    "imted.engine.optimizer.": "imted.training.optimizer.",
    "imted.evaluation.LVISEvaluator": "imted.data.lvis.LVISEvaluator",
    "imted.evaluation.lvis.": "imted.data.lvis.",
}
"""How names begin that earlier versions have written, and how they do now."""

_ENVIRONMENT = re.compile(r"\$\{oc\.env:\w+(,[^${}'\"\\]*)?\}")
_REFERENCE = re.compile(r"\$\{[\w.\[\]-]+\}")


class Name(str):
    """The full name of a class or function that stands for itself, as yaml's tag has it."""


class Partial(NamedTuple):
    """A `functools.partial`: what it calls, and what with."""

    function: Name
    args: Sequence[Any]
    keywords: dict[str, Any]


def add_option(parser: argparse.ArgumentParser) -> None:
    """Give a command line the option that allows more than this module does."""
    parser.add_argument("--allow", action="append", default=[], metavar="NAME",
        help="a package, class or function of yours that the config.yaml of a run may name; it is "
        "run (repeatable)")  # fmt: skip


def checked(content: Any, path: str, allow: Collection[str] = ()) -> Any:
    """Return the values of a file with what they name, once all of it is known to be allowed.

    Args:
        content: Dicts, lists and plain values, `Name` and `Partial` among them.
        path: The file, for errors.
        allow: Full names of packages, classes or functions that are allowed beside.

    Raises:
        UserError: A name, as a `_target_` or for itself, is of something else; or a text would be
            more than text once it is interpolated.
    """
    if isinstance(content, dict):
        target = content.get("_target_")
        if "_target_" in content and not isinstance(target, dict | Name):
            if not isinstance(target, str) or "${" in target:
                raise UserError(f"{path} has the _target_ {target!r}; data must state a full name.")
            content = {**content, "_target_": _renamed(target)}
            find(content["_target_"], path, allow)
        return {key: checked(value, path, allow) for key, value in content.items()}
    if isinstance(content, Partial):
        function, args, keywords = (checked(part, path, allow) for part in content)
        return functools.partial(function, *args, **keywords)
    if isinstance(content, list | tuple):
        return type(content)(checked(value, path, allow) for value in content)
    if isinstance(content, Name):
        return find(_renamed(content), path, allow)
    if isinstance(content, str) and "${" in content:
        _check_interpolation(content, path)
    return content


def refuse_many(content: Any, path: str) -> None:
    """Raise a UserError if a file has more values than any needs; what is shared counts each time.

    A few lines that refer to each other may stand for more than any memory holds.
    """
    waiting, counted = [content], 0
    while waiting:
        value = waiting.pop()
        counted += 1
        if isinstance(value, dict | list | tuple):
            waiting.extend(value.values() if isinstance(value, dict) else value)
        if counted + len(waiting) > MAX_VALUES:
            raise UserError(
                f"{path} can't be read: it has more than {MAX_VALUES} values, some of them by "
                "reference to others."
            )


def find(name: str, path: str, allow: Collection[str] = ()) -> Any:
    """Return what a full name stands for, if data may name it.

    It is judged by what it is, not by where it is found: a module's `os` isn't the module's.

    Args:
        name: The name.
        path: The file that has it, for errors.
        allow: See `checked`.

    Raises:
        UserError: It isn't there, or isn't allowed.
    """
    packages = {home.partition(".")[0] for home in (*HOMES, *allow)}
    own = None
    if name.partition(".")[0] in packages and all(map(_is_plain, name.split("."))):
        try:
            found = locate(name)
        except Exception as error:  # whatever a module raises that can't be imported
            reason = " ".join(str(error).split())
            raise UserError(f"{path} names {name}, which can't be found ({reason}).") from error
        own = _defined_as(found)
        harmless = _is_harmless(found) if isinstance(found, type) else own in CALLS
        if harmless or name in allow or any(f"{own}.".startswith(f"{a}.") for a in allow):
            return found
    what = f" ({own})" if own not in (None, name) else ""
    raise UserError(
        f"{path} names {name}{what}, and it is data: it may have run what Detectron2's and this "
        "project's configs do (layers, optimizers, data sets, ...), and no more. If you trust it, "
        f"allow it or its package: --allow {name} (in Python, allow=[{name!r}])."
    )


def _renamed(name: str) -> str:
    """Return what this version calls something that an earlier one may have named."""
    return next(
        (new + name[len(old) :] for old, new in RENAMED.items() if name.startswith(old)), name
    )


def _is_plain(part: str) -> bool:
    return part.isidentifier() and not part.startswith("__")


def _defined_as(found: Any) -> str | None:
    """Return the full name that a class or function was defined by; other objects have none."""
    if isinstance(found, type) or inspect.isroutine(found):
        return f"{found.__module__}.{found.__qualname__}"
    return None


def _is_harmless(kind: type) -> bool:
    return kind.__module__.startswith(HOMES) and not BASES.isdisjoint(
        map(_defined_as, inspect.getmro(kind))
    )


def _check_interpolation(text: str, path: str) -> None:
    """Refuse what OmegaConf would make more of than another value or an environment variable."""
    rest, before = _ENVIRONMENT.sub("x", text), ""
    while rest != before:  # from the innermost one outwards
        rest, before = _REFERENCE.sub("x", rest), rest
    if "${" in rest:
        raise UserError(
            f"{path} has {text!r}, and it is data: it may refer to another value (${{train.seed}}) "
            "or an environment variable (${oc.env:NAME,default}), and to nothing else."
        )

"""Private parts of other libraries, and what silences them: each with its reason and its end.

Nothing else in the package reaches behind another library's public names, but for what a subclass
overrides or reads of its own base class. tools/maintain/parity/released_imted.py, which runs the
authors' old code, has stand-ins of its own. To be of use to any package, this module imports none
of ours.
"""

import contextlib
import functools
import importlib
import logging
import sys
import warnings
from collections.abc import Iterator
from importlib import resources
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # importing them at once would come before their warnings are silenced
    from detectron2.modeling.backbone.vit import Attention, ViT


def quiet_libraries() -> None:
    """Silence warnings of other libraries about each other, which no user can act on.

    Each can go once the library named has changed the line that warns:

    - torch.jit.script is deprecated: Detectron2's layers and fvcore still decorate with it.
    - torch.meshgrid wants `indexing`: Detectron2's anchor generator calls it without.
    - The NumPy array is not writable: Detectron2 makes bitmasks of pycocotools' arrays.
    - pkg_resources is deprecated: Detectron2's model zoo imports it, for who imports that.
    - timm.models.layers is deprecated: fvcore and Detectron2 import from there.
    - broadcast_buffers is deprecated: Detectron2's configs state it for DDP, and so do ours.
    - is_fx_tracing: torch's own remark to itself while Detectron2 asks whether it is traced.
    - Terminating process: torch's remark when it ends the others of a process that has ended, of
      which the command line says more.
    - No CUDA runtime is found: torch's remark where Detectron2 lists the environment on a CPU.
    """
    for message, category in (
        ("`torch.jit.script` is deprecated", FutureWarning),
        ("torch.meshgrid: in an upcoming release", UserWarning),
        ("The given NumPy array is not writable", UserWarning),
        ("pkg_resources is deprecated as an API", UserWarning),
        ("Importing from timm.models.layers is deprecated", FutureWarning),
        ("`broadcast_buffers` is deprecated", FutureWarning),
    ):
        warnings.filterwarnings("ignore", message, category)
    for name in (
        *("torch.fx._symbolic_trace", "torch.utils.cpp_extension"),
        "torch.multiprocessing.spawn",
    ):
        logging.getLogger(name).setLevel(logging.ERROR)


def leave_out_compiler() -> None:
    """Leave torch's compiler, which takes as long to import as torch itself, to who compiles.

    torchvision and timm import it to mark functions that it shall not touch. While they are
    imported, a stand-in marks them by torch's own `_disable_dynamo`, which looks for the compiler
    at their first call. Detectron2 imports it to ask whether it is at work, and gets a function of
    torch's that asks without. Can go when each of the three does so itself.
    """
    if "torch._dynamo" in sys.modules:
        return
    with contextlib.suppress(ImportError), _compiler_stand_in():
        importlib.import_module("torchvision")
        importlib.import_module("timm")
    with contextlib.suppress(ImportError, AttributeError):  # an older torch or Detectron2
        from detectron2.layers import wrappers
        from torch.compiler import is_compiling

        wrappers.check_if_dynamo_compiling = is_compiling


@contextlib.contextmanager
def _compiler_stand_in() -> Iterator[None]:
    """Let `torch._dynamo` be what torchvision and timm want of it; all else is the compiler's."""
    from torch._compile import _disable_dynamo

    name, utils_name = "torch._dynamo", "torch._dynamo.utils"
    stand_in, utils = ModuleType(name), ModuleType(utils_name)

    def give_back() -> None:
        for module in (stand_in, utils):
            if sys.modules.get(module.__name__) is module:
                del sys.modules[module.__name__]

    def real(module: str, attribute: str) -> Any:
        if attribute.startswith("__"):  # Python's own question, such as for a __path__
            raise AttributeError(attribute)
        give_back()
        return getattr(importlib.import_module(module), attribute)

    def disable(fn: Any = None, recursive: bool = True, **_: Any) -> Any:
        return _disable_dynamo(fn, recursive)

    def is_compile_supported(device_type: str) -> bool:
        return real(utils_name, "is_compile_supported")(device_type)

    vars(stand_in).update(disable=disable, utils=utils, __path__=[])
    vars(stand_in).update(__getattr__=functools.partial(real, name))
    vars(utils).update(is_compile_supported=is_compile_supported)
    vars(utils).update(__getattr__=functools.partial(real, utils_name))
    sys.modules.update({name: stand_in, utils_name: utils})
    try:
        yield
    finally:
        give_back()


def silence() -> None:
    """Silence every warning, and every log but errors: for tools that run others' old code.

    Can go with tools/maintain/parity, whose output is a table and nothing else.
    """
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)


def evaluate_coco_in_cpp() -> None:
    """Let Detectron2's COCOEvaluator match and accumulate by faster-coco-eval.

    Detectron2 has the same in C++ of its own, which its CPU wheels lack, and which leaves reading
    and preparing to Python. Can go when the evaluator takes the class as an argument.
    """
    from detectron2.evaluation import coco_evaluation
    from faster_coco_eval import COCOeval_faster

    coco_evaluation.COCOeval_opt = COCOeval_faster


def forget_process_groups() -> None:
    """Let go of Detectron2's process groups, which `detectron2.utils.comm` never does.

    Destroying a group joins gloo's threads only once nothing refers to it; a thread that is left
    at exit may abort the process (pytorch/pytorch#179291). Can go when torch joins them in
    `destroy_process_group`, or Detectron2 has a function that leaves its groups.
    """
    from detectron2.utils import comm

    comm._get_global_gloo_group.cache_clear()
    comm._LOCAL_PROCESS_GROUP = None


def detectron2_config_file(name: str) -> str:
    """Return the path of a config of Detectron2's, as its `model_zoo.get_config_file` does.

    Its model zoo imports pkg_resources, which setuptools 82 no longer has. Can go when it doesn't.

    Args:
        name: Such as "common/models/mask_rcnn_vitdet.py".
    """
    package = resources.files("detectron2")
    path = package / "model_zoo" / "configs" / name
    if not path.is_file():  # a clone on the path, in which setup.py has not run
        path = package / ".." / "configs" / name
    return str(path)


def replace_attention(vit: "ViT", attention: "type[Attention]") -> None:
    """Compute the attention of Detectron2's ViT by another class, with the same parameters.

    Detectron2's `Block` builds its `Attention` itself, and building another would draw other
    random numbers. Can go when `Block` takes the class as an argument, or attends by
    `scaled_dot_product_attention`.
    """
    for block in vit.blocks:
        block.attn.__class__ = attention


@contextlib.contextmanager
def numpy_float() -> Iterator[None]:
    """Let NumPy have the name `float` again, which it dropped in 1.24.

    The package lvis writes np.float in its evaluation. Can go with a release of lvis after 0.5.3
    that doesn't.
    """
    absent = "float" not in vars(np)
    if absent:
        np.float = float  # type: ignore[attr-defined]
    try:
        yield
    finally:
        if absent:
            del np.float  # type: ignore[attr-defined]

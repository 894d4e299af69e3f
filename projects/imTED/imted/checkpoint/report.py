"""What became of every tensor when a checkpoint met a model."""

import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from tabulate import tabulate

# Here, then in the released detectors.
_MODEL_PARTS = (
    "backbone",
    "box_head",
    "roi_heads",
    "proposal_generator",
    "neck",
    "rpn_head",
    "roi_head",
)


@dataclass
class LoadReport:
    """Account for every tensor of the file and of the model.

    Attributes:
        path: The file.
        loaded: Name in the model -> name in the file.
        adapted: Name in the model -> how its tensor was fitted: "resized to the grid" of its
            positions, or "resampled to the patch size".
        left_out: Name in the file -> why it has no place in the model.
        fresh: Name in the model -> why it keeps its initial value.
    """

    path: str
    loaded: dict[str, str] = field(default_factory=dict)
    adapted: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)
    fresh: dict[str, str] = field(default_factory=dict)

    def summary(self) -> list[str]:
        """Say in a few lines what became of the file's tensors and of the model's."""
        parts = (".".join(name.split(".")[:2]) for name in self.loaded)
        modules = Counter(re.sub(r"_\d+$", "", part) for part in parts)  # a pyramid's levels
        into = ", ".join(f"{count} into {module}" for module, count in modules.items())
        few = f": {into}" if len(modules) <= 4 else ""
        lines = [f"{self.path}: {len(self.loaded)} tensors {self._changes()}loaded{few}"]
        for title, reasons in (("left out", self.left_out), ("new in the model", self.fresh)):
            if reasons:
                counts = Counter(reasons.values())
                named = ", ".join(f"{count} ({reason})" for reason, count in counts.items())
                lines.append(f"{title}: {named}")
        return lines

    def _changes(self) -> str:
        counts = Counter(self.adapted.values())
        return "".join(f"({count} {change}) " for change, count in counts.items())

    def table(self) -> str:
        """Lay the report out as one table, a row per module."""
        rows: dict[tuple[str, str, str], int] = defaultdict(int)
        for target, source in self.loaded.items():
            what = ", ".join(filter(None, ["loaded", self.adapted.get(target)]))
            rows[_module(source), _module(target), what] += 1
        for source, reason in self.left_out.items():
            rows[_module(source), "", f"left out: {reason}"] += 1
        for target, reason in self.fresh.items():
            rows["", _module(target), f"new: {reason}"] += 1
        table = tabulate(
            [(*key[:2], count, key[2]) for key, count in rows.items()],
            headers=("in the file", "in the model", "tensors", "what became of it"),
            tablefmt="github",
        )
        return f"Weights from {self.path}\n{table}"


def _module(name: str) -> str:
    """Shorten a parameter's name to the module that a reader thinks in."""
    name = re.sub(r"\bblocks\.\d+\..*", "blocks", name)
    name = re.sub(r"\bdecoder_blocks\.\d+\..*", "decoder_blocks", name)
    parts = name.removesuffix(".weight").removesuffix(".bias").split(".")
    depth = 3 if parts[0] in _MODEL_PARTS else 1
    return ".".join(part for part in parts[:depth] if not part.isdigit())

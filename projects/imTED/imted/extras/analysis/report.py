"""The report of an analysis: numbers as json, and a page with pictures for a browser."""

import dataclasses
import math
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader
from pycocotools.cocoeval import COCOeval

from imted.outputs import write_json, write_text

from .bootstrap import CONFIDENCE, NUM_RESAMPLES, Difference, compare
from .confusion import confusion_matrix
from .curves import IOU_INDEX, f1_curves, precision_curves
from .evaluation import METRICS, average_precisions, by_class, mean_of_known
from .inputs import TASKS, Truth
from .matching import image_matches
from .plots import COLOURS, save_confusion, save_errors, save_f1_curves, save_precision_curves
from .tide import KINDS, find_errors, gains
from .worst import draw_worst

PAGE, NUMBERS = "report.html", "analysis.json"


def write_analysis(
    title: str,
    truth: Truth,
    evaluation: COCOeval,
    output: str,
    threshold: float | None = None,
    num_worst: int = 12,
) -> dict[str, Any]:
    """Analyse a run, write the report into a folder, and return what `analysis.json` has.

    The threshold is the score of the confusion matrix and of the `num_worst` drawings; by default
    that of the best F1 that all classes share.
    """
    os.makedirs(output, exist_ok=True)
    names, task = truth.classes, evaluation.params.iouType
    ap = average_precisions(evaluation)
    curves = f1_curves(evaluation)
    best = curves[-1].best
    if threshold is None:
        threshold = best["score"] if best else 0.5
    images = image_matches(evaluation)
    confusion = confusion_matrix(images, len(names), threshold)
    dap = gains(images, len(names))
    errors = [find_errors(image, threshold) for image in images]
    counts = sum((error.count for error in errors), Counter())
    by_iou = {iou: precision_curves(evaluation, iou) for iou in IOU_INDEX}
    save_precision_curves(by_iou, names, os.path.join(output, "precision_recall.png"))
    save_f1_curves(curves, names, os.path.join(output, "f1.png"))
    save_confusion(confusion, names, os.path.join(output, "confusion.png"))
    save_errors(dap, os.path.join(output, "errors.png"))
    worst = draw_worst(truth, evaluation, images, errors, threshold, num_worst, output)
    result = {
        "title": title,
        "task": task,
        "json": truth.json_file,
        "images": len(images),
        "objects": int(sum((~image.crowd).sum() for image in images)),
        "detections": len(evaluation.cocoDt.anns),
        "threshold": threshold,
        "metrics": {name: _percent(mean_of_known(by_class(ap, name))) for name in METRICS},
        "classes": [
            {
                "name": name,
                "objects": int(sum(((i.object_classes == k) & ~i.crowd).sum() for i in images)),
                **{m: _percent(by_class(ap, m)[k]) for m in METRICS},
                "best_f1": curves[k].best,
            }
            for k, name in enumerate(names)
        ],
        "best_f1": best,
        "confusion": confusion.tolist(),
        "errors": {
            kind: {"dAP": _percent(dap[kind]), "count": counts[kind], "meaning": meaning}
            for kind, meaning in KINDS.items()
        },
        "worst": [dataclasses.asdict(image) for image in worst],
    }
    _write(result, output, "analysis.html", colours=COLOURS, word=TASKS[task])
    return result


def write_comparison(
    titles: tuple[str, str], truth: Truth, first: COCOeval, second: COCOeval, output: str
) -> dict[str, Any]:
    """Say by how much the second of two runs on one val set differs from the first.

    The report goes into a folder; what `analysis.json` has is returned.
    """
    os.makedirs(output, exist_ok=True)
    metrics, classes = compare(first, second)
    result = {
        "titles": titles,
        "task": first.params.iouType,
        "json": truth.json_file,
        "images": len(first.params.imgIds),
        "resamples": NUM_RESAMPLES,
        "confidence": CONFIDENCE,
        "metrics": {name: _difference(value) for name, value in metrics.items()},
        "classes": [
            {"name": name, **_difference(value)}
            for name, value in zip(truth.classes, classes, strict=True)
        ],
        "sentence": sentence(titles, metrics["AP"]),
    }
    named = [(value["name"], value) for value in result["classes"]]
    _write(result, output, "comparison.html", named=named, word=TASKS[first.params.iouType])
    return result


def sentence(titles: tuple[str, str], ap: Difference) -> str:
    """Say in words what the difference in AP and its interval are."""
    if math.isnan(ap.value):
        return "Neither run has an object to be evaluated on."
    low, high = (f"{100 * value:+.1f}" for value in (ap.low, ap.high))
    verdict = (
        "the interval excludes zero"
        if ap.excludes_zero
        else "the interval includes zero: these images don't tell the two apart"
    )
    return (
        f"AP of {titles[1]} minus AP of {titles[0]}: {100 * ap.value:+.1f}, {CONFIDENCE:.0%} "
        f"interval over images {low} to {high}; {verdict}."
    )


def _write(result: dict[str, Any], output: str, template: str, **values: Any) -> None:
    write_json(result, os.path.join(output, NUMBERS), indent=2)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    page = environment.get_template(template).render(**result, **values)
    write_text(page, os.path.join(output, PAGE))


def _percent(value: float | np.ndarray) -> float | None:
    """Return percent, as in results.json; None, which JSON can hold, for NaN."""
    return None if math.isnan(value) else 100 * float(value)


def _difference(value: Difference) -> dict[str, Any]:
    numbers = {k: getattr(value, k) for k in ("first", "second", "value", "low", "high")}
    known = not math.isnan(value.value)
    return {
        **{key: _percent(number) for key, number in numbers.items()},
        "excludes_zero": known and value.excludes_zero,
    }


def _number(value: float | None, format_: str = ".1f") -> str:
    return "–" if value is None else format(value, format_)  # noqa: RUF001  # a dash in a table

import numpy as np
import pytest

from imted.extras.analysis.evaluation import evaluate
from imted.extras.analysis.inputs import Truth

SIDE = 100


def make_truth(objects, images=2, classes=("ant", "bee")):
    """Objects are (image, class number from 1, XYWH) or with `iscrowd` as the fourth."""
    content = {
        "images": [
            {"id": i, "file_name": f"{i}.png", "width": SIDE, "height": SIDE}
            for i in range(1, images + 1)
        ],
        "categories": [{"id": k, "name": name} for k, name in enumerate(classes, start=1)],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": kind,
                "bbox": list(box),
                "area": box[2] * box[3],
                "iscrowd": int(any(crowd)),
            }
            for number, (image, kind, box, *crowd) in enumerate(objects, start=1)
        ],
    }
    return Truth.of("val.json", "", content)


def make_predictions(detections):
    """Detections are (image, class number from 1, XYWH, score)."""
    return [
        {"image_id": image, "category_id": kind, "bbox": list(box), "score": score}
        for image, kind, box, score in detections
    ]


@pytest.fixture
def evaluated():
    """Match detections to objects; return the truth and COCO's evaluation."""

    def run(objects, detections, **settings):
        truth = make_truth(objects, **settings)
        return truth, evaluate(truth.coco, make_predictions(detections), "bbox")

    return run


@pytest.fixture
def random_run(evaluated):
    """A data set of many objects, and detections of which some are near them."""

    def run(seed=0, images=12, classes=3, noise=0.15, ties=True):
        def score_of(generator):
            return round(float(generator.random()), 1 if ties else 9)

        names = tuple(f"class {k}" for k in range(classes))
        layout = np.random.default_rng(100)
        generator = np.random.default_rng(seed)
        objects, detections = [], []
        for image in range(1, images + 1):
            for _ in range(layout.integers(0, 6)):
                x, y = layout.integers(0, 60, 2).tolist()
                w, h = layout.integers(8, 40, 2).tolist()
                kind = int(layout.integers(1, classes + 1))
                objects.append((image, kind, (x, y, w, h), bool(layout.random() < 0.1)))
                for _ in range(generator.integers(0, 4)):
                    moved = np.array([x, y, w, h]) + noise * 20 * generator.standard_normal(4)
                    moved[2:] = np.maximum(moved[2:], 2)
                    label = kind if generator.random() < 0.8 else 1 + kind % classes
                    score = score_of(generator)
                    detections.append((image, label, moved.tolist(), score))
            for _ in range(generator.integers(0, 3)):
                box = (*generator.uniform(0, 60, 2), *generator.uniform(5, 40, 2))
                label = int(generator.integers(1, classes + 1))
                detections.append((image, label, box, score_of(generator)))
        return evaluated(objects, detections, images=images, classes=names)

    return run


@pytest.fixture
def truth_of():
    """Make a data set's annotations of a list of objects."""
    return make_truth


@pytest.fixture
def predictions_of():
    """Make COCO results of a list of detections."""
    return make_predictions

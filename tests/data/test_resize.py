import cv2
import detectron2.data.transforms as T
import numpy as np
import pytest

from imted.data.resize import OpenCVResizeShortestEdge, OpenCVResizeTransform


def random_image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_pixels_are_the_bilinear_mean_of_four():
    """Each pixel from its definition: the four nearest to its centre, weighted by distance."""
    image, height, width = random_image(17, 23), 9, 31
    found = OpenCVResizeTransform(17, 23, height, width).apply_image(image)
    assert found.shape == (height, width, 3) and found.dtype == np.uint8
    expected = np.empty((height, width, 3))
    for row in range(height):
        for column in range(width):
            y = np.clip((row + 0.5) * 17 / height - 0.5, 0, 16)
            x = np.clip((column + 0.5) * 23 / width - 0.5, 0, 22)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, 16), min(left + 1, 22)
            upper = image[top, left] * (1 - x + left) + image[top, right] * (x - left)
            lower = image[bottom, left] * (1 - x + left) + image[bottom, right] * (x - left)
            expected[row, column] = upper * (1 - y + top) + lower * (y - top)
    # OpenCV computes in fixed point and rounds.
    assert np.abs(found - expected).max() < 1
    by_pil = T.ResizeTransform(17, 23, height, width).apply_image(image)
    assert np.abs(by_pil - expected).max() > 10


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        (480, 640, (800, 1067)),  # 1066.67
        (640, 427, (1199, 800)),  # 1199.06
        (800, 1000, (800, 1000)),
        (333, 500, (800, 1201)),  # 1201.2
        (300, 640, (625, 1333)),  # the longer edge decides: 624.84
        (640, 200, (1333, 417)),  # 416.56
        # Where the last digit decides: Detectron2 rounds these down.
        (54, 172, (419, 1333)),  # 418.5
        (78, 156, (667, 1333)),  # 666.5
    ],
)
def test_size_for_the_released_detectors(height, width, size):
    image = np.zeros((height, width, 3), np.uint8)
    transform = OpenCVResizeShortestEdge(short_edge_length=800, max_size=1333).get_transform(image)
    assert (transform.new_h, transform.new_w) == size


def test_boxes_and_label_maps_follow_the_image():
    image, labels = random_image(40, 60), np.arange(2400, dtype=np.float32).reshape(40, 60)
    inputs = T.AugInput(image, boxes=np.array([[6.0, 4.0, 30.0, 20.0]]), sem_seg=labels)
    transform = T.AugmentationList([OpenCVResizeShortestEdge(80, 1333)])(inputs)
    assert np.array_equal(inputs.image, cv2.resize(image, (120, 80)))
    assert inputs.boxes.tolist() == [[12.0, 8.0, 60.0, 40.0]]
    assert set(np.unique(inputs.sem_seg)) <= set(np.unique(labels))  # no mixed labels
    back = transform.inverse().apply_box(inputs.boxes)
    assert back.tolist() == [[6.0, 4.0, 30.0, 20.0]]

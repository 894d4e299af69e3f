"""Detection in the frames of a video or of a camera."""

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torchvision.ops import box_iou
from tqdm import tqdm

from imted.errors import UserError
from imted.outputs import output_file, refuse_others
from imted.predict import Detections, Predictor
from imted.visualization.drawing import draw_instances

ESCAPE = 27
SAME_OBJECT = 0.5
"""IoU with its box in the frame before, from which an object is the same."""


def predict_video(predictor: Predictor, path: str, output: str) -> str:
    """Write a video with what is found in each frame, and return its path.

    Args:
        predictor: The detector.
        path: A video that OpenCV can read.
        output: Where to: a file that ends in .mp4, or a folder.

    Raises:
        UserError: The video can't be read, or the new one can't be written.
    """
    if not os.path.isfile(path):
        raise UserError(f"{path} (--video-input) doesn't exist.")
    target = output if output.endswith(".mp4") else os.path.join(output, f"{Path(path).stem}.mp4")
    refuse_others([target], [path])
    with output_file(target) as partial:
        video = f"{partial}.mp4"  # OpenCV tells the format by the suffix
        try:
            written, whole = _write_frames(predictor, path, video)
            if _count_frames(video) < written:  # OpenCV's writer says nothing of a full disk
                raise UserError(
                    f"{target} (--output) has not all of {written} frames, and was removed: see "
                    "whether the disk is full."
                )
            os.replace(video, partial)
        finally:
            Path(video).unlink(missing_ok=True)
    if not whole:
        raise UserError(f"Interrupted after {written} frames, which are in {target}.")
    return target


def _write_frames(predictor: Predictor, path: str, video: str) -> tuple[int, bool]:
    """Write a video, to the end or until Ctrl-C; return its frames, and whether it's whole."""
    capture = _open(path)
    writer, written, whole = None, 0, True
    try:
        frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        fps = capture.get(cv2.CAP_PROP_FPS) or 25.0
        drawn = draw_frames(predictor, capture)
        for picture in tqdm(drawn, total=frames if frames > 0 else None, unit="frame"):
            if writer is None:
                writer = _open_writer(video, fps, picture)
            writer.write(picture)
            written += 1
    except KeyboardInterrupt:
        if not written:
            raise
        whole = False
    finally:
        capture.release()
        if writer is not None:
            writer.release()
    if not written:
        raise UserError(f"{path} (--video-input) can't be opened as a video, or has no frame.")
    return written, whole


def _count_frames(path: str) -> int:
    capture = _open(path)
    frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    capture.release()
    return frames


def show_webcam(predictor: Predictor, number: int = 0) -> None:
    """Show what a camera sees and the detector finds in it, until Escape is pressed.

    Raises:
        UserError: There is no such camera, or OpenCV can't open windows.
    """
    capture = _open(number)
    try:
        if not capture.isOpened():
            raise UserError(f"--webcam finds no camera {number} that can be opened.")
        for picture in draw_frames(predictor, capture):
            if show(picture, "--webcam") == ESCAPE:
                break
    finally:
        capture.release()


def draw_frames(predictor: Predictor, capture: cv2.VideoCapture) -> Iterator[np.ndarray]:
    """Yield each frame with what is found in it, BGR; an object keeps its colour."""
    colours = _Colours()
    while True:
        success, frame = capture.read()
        if not success:
            return
        found = predictor(frame)
        numbers = colours.of(found)
        drawn = draw_instances(frame[:, :, ::-1], found, predictor.metadata, 0, numbers)
        yield np.ascontiguousarray(drawn[:, :, ::-1])


class _Colours:
    """Gives an object of a video the colour that it had in the frame before."""

    def __init__(self) -> None:
        self._boxes, self._classes = torch.empty(0, 4), torch.empty(0, dtype=torch.int64)
        self._numbers: list[int] = []
        self._given = 0

    def of(self, found: Detections) -> list[int]:
        """Return the place of each object's colour in the palette."""
        boxes, classes = found.pred_boxes.tensor, found.pred_classes
        iou = box_iou(boxes, self._boxes) * (classes[:, None] == self._classes)
        before = dict(zip(*(side.tolist() for side in linear_sum_assignment(-iou.numpy())),
                          strict=True))  # fmt: skip
        numbers = []
        for i in range(len(boxes)):
            if i in before and iou[i, before[i]] >= SAME_OBJECT:
                numbers.append(self._numbers[before[i]])
            else:
                numbers.append(self._given)
                self._given += 1
        self._boxes, self._classes, self._numbers = boxes, classes, numbers
        return numbers


def show(picture: np.ndarray, option: str, wait: int = 1) -> int:
    """Show a picture (BGR) in a window for some milliseconds (0: until a key is pressed).

    Args:
        picture: What to show.
        option: What asked for a window, for the error.
        wait: Milliseconds.

    Returns:
        The key that was pressed, -1 for none.

    Raises:
        UserError: This OpenCV has no windows.
    """
    try:
        cv2.imshow("imTED", picture)
        return cv2.waitKey(wait)
    except cv2.error:
        raise UserError(
            f"{option} needs windows, which this OpenCV (opencv-python-headless) or this machine "
            "doesn't have; name a folder with --output, or install opencv-python."
        ) from None


def _open(source: str | int) -> cv2.VideoCapture:
    """Open a video or a camera; what is wrong with it, this module says, not the libraries."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    if hasattr(cv2, "setLogLevel"):  # OpenCV 4
        cv2.setLogLevel(0)
    else:
        cv2.utils.logging.setLogLevel(0)  # type: ignore[attr-defined,unused-ignore]
    capture = cv2.VideoCapture(source)
    capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)  # a phone's upright; the default differs
    return capture


def _open_writer(path: str, fps: float, picture: np.ndarray) -> cv2.VideoWriter:
    height, width = picture.shape[:2]
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"mp4v"), fps, (width, height))
    if not writer.isOpened():
        raise UserError(f"{path} (--output) can't be written as a video by this OpenCV.")
    return writer

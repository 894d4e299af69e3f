"""Detection in the frames of a video or of a camera."""

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from detectron2.utils.video_visualizer import VideoVisualizer
from tqdm import tqdm

from imted.errors import UserError
from imted.outputs import output_file, refuse_others
from imted.predict import Predictor
from imted.visualization.plots import names_as_text

ESCAPE = 27


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
    visualizer = VideoVisualizer(predictor.metadata)
    while True:
        success, frame = capture.read()
        if not success:
            return
        rgb = np.ascontiguousarray(frame[:, :, ::-1])
        found = predictor(frame)
        with names_as_text():
            drawn = visualizer.draw_instance_predictions(rgb, found)
        yield np.ascontiguousarray(drawn.get_image()[:, :, ::-1])


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

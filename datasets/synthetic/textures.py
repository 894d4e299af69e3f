"""Procedural textures and background clutter for the synthetic images.

Everything is drawn from a ``numpy.random.Generator``; images are uint8 RGB, (H, W, 3).
"""

import colorsys
import math

import cv2
import numpy as np

FILL_KINDS = ("solid", "gradient", "stripes", "dots", "noise")
BACKGROUND_KINDS = ("gradient", "stripes", "checkerboard", "noise", "speckle")
MIN_COLOUR_DISTANCE = 100.0  # Euclidean, in RGB values 0 to 255


def smooth_noise(
    rng: np.random.Generator, height: int, width: int, cells: int, channels: int
) -> np.ndarray:
    """Draw low-frequency noise in [0, 1], float32, (height, width, channels).

    Args:
        rng: Draws the values.
        height: Pixels.
        width: Pixels.
        cells: Number of independent values along each side; fewer is smoother.
        channels: Number of independent fields.
    """
    coarse = rng.random((cells, cells, channels), dtype=np.float32)
    fine = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(fine, 0.0, 1.0).reshape(height, width, channels)


def pattern(rng: np.random.Generator, height: int, width: int, kind: str) -> np.ndarray:
    """Draw a scalar field in [0, 1], float32, (height, width), at a random angle and period.

    Args:
        rng: Draws angle and period.
        height: Pixels.
        width: Pixels.
        kind: One of ``FILL_KINDS`` or ``BACKGROUND_KINDS``.
    """
    if kind == "solid":
        return np.zeros((height, width), np.float32)
    if kind == "noise":
        return smooth_noise(rng, height, width, int(rng.integers(3, 9)), 1)[..., 0]
    if kind == "speckle":
        return rng.random((height, width), dtype=np.float32)

    angle = rng.uniform(0.0, 2.0 * math.pi)
    x = np.arange(width, dtype=np.float32) - width / 2.0
    y = np.arange(height, dtype=np.float32)[:, None] - height / 2.0
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    along, across = x * cos + y * sin, y * cos - x * sin
    if kind == "gradient":
        return along / np.float32(math.hypot(height, width)) + np.float32(0.5)

    side = max(height, width)
    period = rng.uniform(max(4.0, 0.1 * side), max(6.0, 0.3 * side))
    wave_along = np.sin(along * np.float32(2.0 * math.pi / period))
    if kind == "stripes":
        return np.clip(0.5 + 1.5 * wave_along, 0.0, 1.0)
    wave_across = np.sin(across * np.float32(2.0 * math.pi / period))
    threshold = 0.0 if kind == "checkerboard" else 0.3
    return (wave_along * wave_across > threshold).astype(np.float32)


def fill(
    rng: np.random.Generator, height: int, width: int, behind: np.ndarray, hue: float | None = None
) -> np.ndarray:
    """Draw a two-colour texture whose colours both stand out, uint8, (height, width, 3).

    Args:
        rng: Draws kind and colours.
        height: Pixels.
        width: Pixels.
        behind: Mean colour of what the texture will cover, (3,).
        hue: Hue of both colours in [0, 1), whatever is behind; None for any colours.
    """
    if hue is None:
        first, second = (contrasting_colour(rng, behind) for _ in range(2))
    else:
        first, second = (_colour_of_hue(rng, hue) for _ in range(2))
    field = pattern(rng, height, width, str(rng.choice(FILL_KINDS)))
    return (first + field[..., None] * (second - first)).astype(np.uint8)


def contrasting_colour(rng: np.random.Generator, behind: np.ndarray) -> np.ndarray:
    """Draw a colour at least ``MIN_COLOUR_DISTANCE`` from ``behind``, float32, (3,)."""
    # The RGB cube is wide enough that such a colour exists for every ``behind``.
    colours = rng.uniform(0.0, 255.0, (32, 3)).astype(np.float32)
    distance = np.linalg.norm(colours - behind, axis=1)
    far = np.flatnonzero(distance >= MIN_COLOUR_DISTANCE)
    return colours[far[0] if len(far) else distance.argmax()]


def _colour_of_hue(rng: np.random.Generator, hue: float) -> np.ndarray:
    """Draw a saturated colour close to a hue, float32, (3,)."""
    near = (hue + rng.uniform(-0.04, 0.04)) % 1.0
    rgb = colorsys.hsv_to_rgb(near, rng.uniform(0.75, 1.0), rng.uniform(0.55, 1.0))
    return np.float32(255.0) * np.asarray(rgb, np.float32)


def background(rng: np.random.Generator, side: int) -> np.ndarray:
    """Draw a cluttered textured background without any class shape, uint8, (side, side, 3)."""
    # Channels first until the clutter: numpy broadcasts over whole planes several times faster.
    colours = smooth_noise(rng, side, side, int(rng.integers(2, 7)), 3)
    planes = np.float32(255.0) * np.ascontiguousarray(colours.transpose(2, 0, 1))
    for _ in range(rng.integers(1, 4)):
        kind = str(rng.choice(BACKGROUND_KINDS))
        low, high = rng.uniform(0.0, 255.0, (2, 3, 1, 1)).astype(np.float32)
        layer = low + pattern(rng, side, side, kind) * (high - low)
        # Each layer shows in soft patches, so no statistic is the same all over the image.
        patches = smooth_noise(rng, side, side, 4, 1)[..., 0] * np.float32(rng.uniform(0.3, 0.9))
        planes += patches * (layer - planes)
    canvas = cv2.merge(list(planes.astype(np.uint8)))
    for _ in range(rng.integers(2, 8)):
        _DISTRACTORS[rng.integers(len(_DISTRACTORS))](rng, canvas)
    return canvas


def finish(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Add a lighting gradient, a slight blur and sensor noise to a uint8 image."""
    side = image.shape[0]
    gradient = pattern(rng, side, side, "gradient") - np.float32(0.5)
    light = np.float32(1.0) + np.float32(rng.uniform(0.0, 0.5)) * gradient
    lit = cv2.multiply(image, cv2.merge([light] * 3), dtype=cv2.CV_32F)
    lit = cv2.GaussianBlur(lit, (3, 3), rng.uniform(0.3, 0.8))
    noise = rng.standard_normal((side, side), dtype=np.float32) * np.float32(rng.uniform(0.0, 6.0))
    return np.clip(cv2.add(lit, cv2.merge([noise] * 3)), 0.0, 255.0).astype(np.uint8)


def _colour(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(int(value) for value in rng.integers(0, 256, 3))


def _line(rng: np.random.Generator, canvas: np.ndarray) -> None:
    start, end = rng.integers(0, canvas.shape[0], (2, 2)).tolist()
    # Much thinner than the narrowest class rectangle, so that a line is never one.
    cv2.line(canvas, start, end, _colour(rng), 1, cv2.LINE_AA)


def _zigzag(rng: np.random.Generator, canvas: np.ndarray) -> None:
    side = canvas.shape[0]
    steps = rng.normal(0.0, 0.1 * side, (int(rng.integers(3, 7)), 2))
    points = rng.uniform(0.0, side, 2) + np.cumsum(steps, axis=0)
    thickness = int(rng.integers(1, 3))
    cv2.polylines(canvas, [points.astype(np.int32)], False, _colour(rng), thickness, cv2.LINE_AA)


def _arc(rng: np.random.Generator, canvas: np.ndarray) -> None:
    side = canvas.shape[0]
    centre = rng.integers(0, side, 2).tolist()
    axes = rng.integers(max(3, side // 24), side // 4, 2).tolist()
    start = int(rng.integers(0, 360))
    stop = start + int(rng.integers(60, 200))  # open: a closed one would be a ring
    thickness = int(rng.integers(1, 4))
    cv2.ellipse(canvas, centre, axes, 0.0, start, stop, _colour(rng), thickness, cv2.LINE_AA)


def _blob(rng: np.random.Generator, canvas: np.ndarray) -> None:
    side = canvas.shape[0]
    angle = np.linspace(0.0, 2.0 * math.pi, 64, endpoint=False)
    # Deep uneven lobes keep it from being taken for a disc.
    two, three = rng.uniform(0.2, 0.4), rng.uniform(0.35, 0.5)
    phase = rng.uniform(0.0, 2.0 * math.pi, 2)
    radius = 1.0 + two * np.sin(2.0 * angle + phase[0]) + three * np.sin(3.0 * angle + phase[1])
    outline = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    points = rng.uniform(0.0, side, 2) + outline * rng.uniform(0.03, 0.12) * side
    cv2.fillPoly(canvas, [points.astype(np.int32)], _colour(rng), cv2.LINE_AA)


_DISTRACTORS = (_line, _zigzag, _arc, _blob)

"""Synthetic scenes of textured shapes with exact masks, classes and occlusion.

A scene is laid out front to back, so that whether a shape stays visible enough is known when it
is placed, and painted back to front. Masks are bool, (S, S), S the image side.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from imted.errors import UserError
from synthetic import textures

CLASS_NAMES = ("disc", "rectangle", "triangle", "star", "ring", "cross")
RECTANGLE = CLASS_NAMES.index("rectangle")

MIN_VISIBLE_FRACTION = 0.25
MIN_VISIBLE_PIXELS = 40
MAX_OUTSIDE_FRACTION = 0.3
MIN_CROWD_VISIBLE_FRACTION = 0.5
PLACEMENT_TRIES = 8


@dataclass(frozen=True)
class ShapesOptions:
    """Say what scenes look like.

    Attributes:
        image_size: Side of the square image, pixels; a multiple of 16, at least 64.
        max_objects: Most separate objects in an image; the number is uniform from 1.
        empty_fraction: Part of the images that hold no object.
        crowd_fraction: Part of the images that get a cluster of tiny shapes of one class.
        cut_fraction: Part of the images where a thin bar lies across an object.
        min_object: Size of the smallest separate object as a fraction of the image's side, but
            never under 12 pixels; sizes are log-uniform up to 0.68 of the side.
        class_colours: Give each class a hue of its own. Otherwise shape alone tells them apart,
            which takes a detector far longer to learn.

    Raises:
        UserError: A value is out of range.
    """

    image_size: int = 192
    max_objects: int = 8
    empty_fraction: float = 0.04
    crowd_fraction: float = 0.06
    cut_fraction: float = 0.3
    min_object: float = 1 / 16
    class_colours: bool = False

    def __post_init__(self) -> None:
        if self.image_size < 64 or self.image_size % 16:
            raise UserError(
                f"image_size is {self.image_size}; give a multiple of 16 that is at least 64."
            )
        if self.max_objects < 1:
            raise UserError(f"max_objects is {self.max_objects}; give at least 1.")
        for name in ("empty_fraction", "crowd_fraction", "cut_fraction"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise UserError(f"{name} is {getattr(self, name)}; give a number from 0 to 1.")
        if not 0.0 < self.min_object <= 0.5:
            raise UserError(f"min_object is {self.min_object}; give a number above 0, up to 0.5.")


@dataclass(frozen=True)
class Instance:
    """One annotated object, or one crowd of tiny shapes.

    Attributes:
        category: Index into ``CLASS_NAMES``.
        full: The shape inside the image, as if nothing covered it.
        visible: The part of ``full`` that no nearer instance covers.
        pieces: The shapes that are painted, back to front; more than one only in a crowd.
        crowd: Whether this is a crowd.
    """

    category: int
    full: np.ndarray
    visible: np.ndarray
    pieces: tuple[np.ndarray, ...]
    crowd: bool = False

    @property
    def occlusion_ratio(self) -> float:
        """Return the hidden fraction of the shape's pixels inside the image."""
        return 1.0 - np.count_nonzero(self.visible) / np.count_nonzero(self.full)

    @property
    def visible_parts(self) -> int:
        """Count the 8-connected components of the visible mask."""
        return cv2.connectedComponents(self.visible.view(np.uint8), connectivity=8)[0] - 1


@dataclass(frozen=True)
class Scene:
    """An image, uint8 RGB (S, S, 3), and its instances, back to front."""

    image: np.ndarray
    instances: list[Instance]


def render_scene(rng: np.random.Generator, options: ShapesOptions) -> Scene:
    """Draw one scene; the same generator state and options give the same scene."""
    instances = _lay_out(rng, options)[::-1]
    canvas = textures.background(rng, options.image_size)
    for instance in instances:
        hue = instance.category / len(CLASS_NAMES) if options.class_colours else None
        for piece in instance.pieces:
            _paint(rng, canvas, piece, hue)
    return Scene(textures.finish(rng, canvas), instances)


def shape_outline(rng: np.random.Generator, category: int) -> list[np.ndarray]:
    """Draw the polygons, (points, 2), of a shape that fits the square [-0.5, 0.5]².

    The second polygon of a ring is its hole; every other class has one polygon.
    """
    name = CLASS_NAMES[category]
    if name == "rectangle":
        return [np.array([(-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)])]
    if name == "triangle":
        return [np.array([(rng.uniform(-0.3, 0.3), -0.5), (0.5, 0.5), (-0.5, 0.5)])]
    if name == "star":
        return [_radial(10, [0.5, 0.5 * rng.uniform(0.38, 0.48)])]
    if name == "cross":
        arm = 0.5 * rng.uniform(0.28, 0.4)
        quarter = np.array([(arm, arm), (0.5, arm), (0.5, -arm)])
        turn = np.array([(0.0, 1.0), (-1.0, 0.0)])  # a quarter turn, clockwise like the points
        return [np.concatenate([quarter @ np.linalg.matrix_power(turn.T, k) for k in range(4)])]
    disc = _radial(48, [0.5])
    return [disc] if name == "disc" else [disc, disc * rng.uniform(0.45, 0.62)]


def _radial(points: int, radii: list[float]) -> np.ndarray:
    """Return points at equal angles, (points, 2), whose radius cycles through ``radii``."""
    angles = np.arange(points) * (2.0 * math.pi / points)
    radius = np.resize(radii, points)
    return np.stack([radius * np.sin(angles), -radius * np.cos(angles)], axis=1)


def _draw_mask(
    rng: np.random.Generator,
    category: int,
    centre: np.ndarray,
    extent: tuple[float, float],
    angle: float,
    side: int,
) -> np.ndarray | None:
    """Rasterise a shape; None if more than ``MAX_OUTSIDE_FRACTION`` is outside the image.

    Args:
        rng: Draws what the class leaves open.
        category: Number of the class.
        centre: Its x and y, pixels.
        extent: Width and height before rotation, pixels.
        angle: Radians.
        side: The side of the square image, in pixels.
    """
    cos, sin = math.cos(angle), math.sin(angle)
    rotation = np.array([(cos, sin), (-sin, cos)])
    polygons = [(outline * extent) @ rotation + centre for outline in shape_outline(rng, category)]
    areas = [cv2.contourArea(polygon.astype(np.float32)) for polygon in polygons]
    mask = np.zeros((side, side), np.uint8)
    fixed_point = [np.round(polygon * 16.0).astype(np.int32) for polygon in polygons]
    cv2.fillPoly(mask, fixed_point, 1, shift=4)
    wanted = (1.0 - MAX_OUTSIDE_FRACTION) * (areas[0] - sum(areas[1:]))
    return mask.view(bool) if np.count_nonzero(mask) >= wanted else None


def _lay_out(rng: np.random.Generator, options: ShapesOptions) -> list[Instance]:
    """Place the instances of a scene, front to back."""
    if rng.random() < options.empty_fraction:
        return []
    has_crowd = rng.random() < options.crowd_fraction
    wanted = int(rng.integers(1, options.max_objects + 1))
    if has_crowd:
        wanted = (wanted + 1) // 2  # leaves the crowd room
    occupied = np.zeros((options.image_size,) * 2, bool)
    placed: list[Instance] = []

    def add(instance: Instance | None) -> None:
        if instance is not None:
            placed.append(instance)
            np.logical_or(occupied, instance.full, out=occupied)

    if wanted >= 2 and rng.random() < options.cut_fraction:
        for instance in _bar_across_object(rng, occupied):
            add(instance)
    while wanted > len(placed):
        single = _place_object(rng, occupied, placed, options.min_object)
        add(single)
        wanted -= single is None
    if has_crowd:
        add(_place_crowd(rng, occupied))
    return placed


def _visible_instance(
    category: int, full: np.ndarray | None, occupied: np.ndarray
) -> Instance | None:
    """Return the instance behind what is placed, or None if too little of it would show."""
    if full is None:
        return None
    visible = full & ~occupied
    least = max(MIN_VISIBLE_PIXELS, MIN_VISIBLE_FRACTION * np.count_nonzero(full))
    if np.count_nonzero(visible) < least:
        return None
    return Instance(category, full, visible, (full,))


def _place_object(
    rng: np.random.Generator, occupied: np.ndarray, placed: list[Instance], min_object: float
) -> Instance | None:
    """Place a shape behind ``placed``, half of the time where one of those covers part of it."""
    side = occupied.shape[0]
    category = int(rng.integers(len(CLASS_NAMES)))
    for _ in range(PLACEMENT_TRIES):
        smallest = math.log(max(12.0, side * min_object))
        size = math.exp(rng.uniform(smallest, math.log(0.68 * side)))
        stretch = math.sqrt(rng.uniform(0.6, 1.0))
        if placed and rng.random() < 0.5:
            rows, columns = np.nonzero(placed[rng.integers(len(placed))].full)
            near = rng.integers(len(rows))
            reach = rng.uniform(-0.5, 0.5, 2) * size
            centre = np.array([columns[near], rows[near]]) + reach
        else:
            centre = rng.uniform(0.0, side, 2)
        extent, angle = (size * stretch, size / stretch), rng.uniform(0.0, 2.0 * math.pi)
        full = _draw_mask(rng, category, centre, extent, angle, side)
        instance = _visible_instance(category, full, occupied)
        if instance is not None:
            return instance
    return None


def _bar_across_object(rng: np.random.Generator, occupied: np.ndarray) -> list[Instance]:
    """Place a long thin rectangle and, behind it, an object that it cuts in two."""
    side = occupied.shape[0]
    width = max(5.0, rng.uniform(0.03, 0.07) * side)
    length = max(8.0 * width, rng.uniform(0.5, 0.8) * side)
    centre, angle = rng.uniform(0.25, 0.75, 2) * side, rng.uniform(0.0, 2.0 * math.pi)
    bar = _draw_mask(rng, RECTANGLE, centre, (length, width), angle, side)
    front = _visible_instance(RECTANGLE, bar, occupied)
    if front is None:
        return []
    category = int(rng.integers(len(CLASS_NAMES)))
    size = rng.uniform(max(4.0 * width, 16.0), 0.75 * length)
    along = rng.uniform(-0.1, 0.1) * length
    middle = centre + along * np.array([math.cos(angle), math.sin(angle)])
    turn = rng.uniform(0.0, 2.0 * math.pi)
    full = _draw_mask(rng, category, middle, (size, size), turn, side)
    behind = _visible_instance(category, full, occupied | front.full)
    return [front] if behind is None else [front, behind]


def _place_crowd(rng: np.random.Generator, occupied: np.ndarray) -> Instance | None:
    """Place a tight grid of tiny shapes of one class behind everything else."""
    side = occupied.shape[0]
    category = int(rng.integers(len(CLASS_NAMES)))
    for _ in range(PLACEMENT_TRIES):
        size = max(8.0, side / 20.0)
        columns, rows = rng.integers(3, 7, 2)
        grid = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), axis=-1)
        offsets = (grid.reshape(-1, 2) - (columns / 2 - 0.5, rows / 2 - 0.5)) * size
        centre = rng.uniform(0.2, 0.8, 2) * side
        pieces: list[np.ndarray | None] = []
        for jitter in rng.uniform(-0.12, 0.12, offsets.shape) * size:
            extent = size * rng.uniform(0.85, 1.1, 2)
            spot, angle = centre + offsets[len(pieces)] + jitter, rng.uniform(0.0, 2.0 * math.pi)
            pieces.append(_draw_mask(rng, category, spot, tuple(extent), angle, side))
        found = tuple(piece for piece in pieces if piece is not None)
        if len(found) < len(pieces):
            continue
        full = np.logical_or.reduce(found)
        visible = full & ~occupied
        if np.count_nonzero(visible) >= MIN_CROWD_VISIBLE_FRACTION * np.count_nonzero(full):
            return Instance(category, full, visible, found, crowd=True)
    return None


def _paint(
    rng: np.random.Generator, canvas: np.ndarray, mask: np.ndarray, hue: float | None
) -> None:
    """Fill the mask with a texture, sometimes with an outline inside it, in place."""
    left, top, width, height = cv2.boundingRect(mask.view(np.uint8))
    window = slice(top, top + height), slice(left, left + width)
    region, inside = canvas[window], mask[window]
    behind = region[inside].mean(axis=0)
    np.copyto(region, textures.fill(rng, height, width, behind, hue), where=inside[..., None])
    if rng.random() < 0.35:
        thickness = 1 if min(height, width) < 32 else int(rng.integers(1, 4))
        kernel = np.ones((2 * thickness + 1,) * 2, np.uint8)
        # The whole mask, not the window: OpenCV erodes nothing along the array's own border,
        # which is right where the image ends and wrong where the window does.
        core = cv2.erode(mask.view(np.uint8), kernel)[window].view(bool)
        colour = textures.contrasting_colour(rng, behind).astype(np.uint8)
        np.copyto(region, colour, where=(inside & ~core)[..., None])

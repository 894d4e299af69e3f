import numpy as np
import pycocotools.mask as mask_util
import pytest

from imted.visualization.painting import FILLING, PaintedObject, paint

RED, BLUE = (250, 10, 20), (10, 20, 250)


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 255, (120, 160, 3), dtype=np.uint8)


def bitmap():
    mask = np.zeros((120, 160), dtype=bool)
    mask[40:80, 50:110] = True
    return mask


def test_a_mask_is_laid_over_its_pixels_alone(image):
    before = image.copy()
    picture = paint(image, [PaintedObject(None, RED, "", bitmap())])
    assert (image == before).all()
    expected = (1 - FILLING) * image[42:78, 52:108] + FILLING * np.array(RED)
    np.testing.assert_allclose(picture[42:78, 52:108], expected, atol=1)
    outside = ~bitmap()
    outside[38:82, 48:112] = False  # the line around it
    assert (picture[outside] == image[outside]).all()


def test_every_form_of_a_mask_is_the_same_picture(image):
    rle = mask_util.encode(np.asfortranarray(bitmap().astype(np.uint8)))
    runs = np.diff(np.flatnonzero(np.diff(bitmap().ravel("F").astype(int))), prepend=-1).tolist()
    counts = [*runs, 120 * 160 - sum(runs)]
    polygon = [[50, 40, 110, 40, 110, 80, 50, 80]]
    pictures = [
        paint(image, [PaintedObject(None, RED, "", mask)])
        for mask in (bitmap(), rle, {"size": [120, 160], "counts": counts}, polygon)
    ]
    assert all((picture == pictures[0]).all() for picture in pictures)


def test_a_small_mask_lies_over_a_large_one(image):
    small = np.zeros_like(bitmap())
    small[55:65, 70:90] = True
    objects = [PaintedObject(None, RED, "", small), PaintedObject(None, BLUE, "", bitmap())]
    pictures = [paint(image, order) for order in (objects, objects[::-1])]
    assert (pictures[0] == pictures[1]).all()
    below = (1 - FILLING) * image[58, 80] + FILLING * np.array(BLUE)
    expected = (1 - FILLING) * below + FILLING * np.array(RED)
    np.testing.assert_allclose(pictures[0][58, 80], expected, atol=2)


def test_a_box_is_where_it_is_whatever_the_scale(image):
    for scale in (1.0, 3.0, 0.5):
        picture = paint(image, [PaintedObject((20, 30, 60, 90), RED)], scale)
        assert picture.shape == (round(120 * scale), round(160 * scale), 3)
        rows, columns = np.nonzero((picture == RED).all(axis=2))
        found = [columns.min(), rows.min(), columns.max(), rows.max()]
        np.testing.assert_allclose(found, scale * np.array([20, 30, 60, 90]), atol=2)


@pytest.mark.parametrize("frame", [(20, 30, 60, 90), (0, 0, 159, 119), (-30, -30, 5, 5)])
def test_labels_of_one_box_are_all_to_be_read(image, frame):
    """Each has the area that it would have alone, within the picture."""
    colours = [(250 - i, 3, 7 + i) for i in range(6)]
    image = np.zeros_like(image)

    def area(objects, colour):
        return (paint(image, objects, 4.0) == colour).all(axis=2).sum()

    objects = [PaintedObject(frame, colour, f"class {i}") for i, colour in enumerate(colours)]
    for item in objects:
        # The last box lies over the others, and their lines over none of the labels.
        alone = area([item._replace(mask=None)], item.colour)
        line = area([item._replace(label="")], item.colour)
        assert area(objects, item.colour) >= 0.9 * (alone - line)


@pytest.mark.parametrize("label", ["$x^{$", "Kätzchen", "\u732b", "%s {0} \\", "a" * 500])
def test_any_name_can_be_a_label(image, label):
    picture = paint(image, [PaintedObject((20, 30, 60, 90), RED, label)], 2.0)
    assert (picture != paint(image, [PaintedObject((20, 30, 60, 90), RED)], 2.0)).any()


def test_what_has_nothing_to_show_paints_nothing(image):
    empty = PaintedObject(None, RED, "name", np.zeros((120, 160), dtype=bool))
    assert (paint(image, [empty]) == image).all()
    assert (paint(image, []) == image).all()

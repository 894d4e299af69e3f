import json
import os

import numpy as np
import pytest
import torch
from PIL import Image, UnidentifiedImageError

from imted.data.images import PretrainMapper, list_images
from imted.data.pixels import inspect_image, read_pixels
from imted.errors import UserError


def save(path, pixels) -> dict[str, str]:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(path)
    return {"file_name": str(path)}


def test_images_of_a_folder_and_its_subfolders_in_order(tmp_path):
    pixels = np.zeros((2, 2, 3))
    expected = [save(tmp_path / name, pixels) for name in ("a/z.png", "b.JPG", "c/d/e.jpeg")]
    (tmp_path / "notes.txt").write_text("no image")
    assert list_images(str(tmp_path)) == expected


def test_images_that_a_json_names(tmp_path):
    expected = [save(tmp_path / name, np.zeros((2, 2, 3))) for name in ("a/1.png", "b/2.png")]
    save(tmp_path / "unlisted.png", np.zeros((2, 2, 3)))
    path = tmp_path / "some.json"
    images = [{"id": 1, "file_name": "b/2.png"}, {"id": 2, "file_name": "a/1.png"}]
    path.write_text(json.dumps({"images": images}))
    assert list_images(str(tmp_path), str(path)) == expected


def test_missing_folder(tmp_path):
    for folder in ("", str(tmp_path / "absent")):
        with pytest.raises(UserError, match=r"does not exist.*dataloader.train.dataset.images="):
            list_images(folder)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not readable as JSON"),
        ("[]", "holds a list"),
        ("{}", "has no list 'images'"),
        ('{"images": [{}]}', "images without a file name or an integer id from 0"),
        (None, "there is no such annotation file"),
    ],
)
def test_no_coco_json(tmp_path, content, words):
    path = tmp_path / "some.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=rf"some\.json.* {words}"):
        list_images(str(tmp_path), str(path))


def test_no_images(tmp_path):
    with pytest.raises(UserError, match="holds no images"):
        list_images(str(tmp_path))
    path = tmp_path / "some.json"
    path.write_text('{"images": []}')
    with pytest.raises(UserError, match=r"some\.json holds no images"):
        list_images(str(tmp_path), str(path))


def test_crops_keep_the_channels_and_the_size_asked_for(tmp_path):
    sample = save(tmp_path / "1.png", np.full((30, 50, 3), (200, 100, 0)))
    mapped = PretrainMapper(image_size=16)(sample)
    assert mapped["file_name"] == sample["file_name"]
    image = mapped["image"]
    assert (image.shape, image.dtype) == ((3, 16, 16), torch.uint8)
    assert [channel.unique().tolist() for channel in image] == [[200], [100], [0]]  # RGB


@pytest.mark.parametrize("shape", [(9, 7), (9, 7, 4)], ids=["grey", "transparent"])
def test_other_kinds_of_images_become_rgb(tmp_path, shape):
    sample = save(tmp_path / "1.png", np.full(shape, 77))
    image = PretrainMapper(image_size=8)(sample)["image"]
    assert (image == 77).all() and image.shape == (3, 8, 8)


def test_crops_are_large_enough_and_flipped_half_of_the_time(tmp_path):
    """In an image whose red grows to the right and green to the bottom a crop's extent shows."""
    steps = np.arange(200)
    pixels = np.zeros((200, 200, 3))
    pixels[..., 0], pixels[..., 1] = steps[None, :], steps[:, None]
    sample = save(tmp_path / "1.png", pixels)
    mapper = PretrainMapper(image_size=32, min_scale=0.5)
    torch.manual_seed(0)
    flipped, areas = 0, []
    for _ in range(100):
        image = mapper(sample)["image"].float()
        flipped += bool(image[0, 0, 0] > image[0, 0, -1])
        assert image[1, 0, 0] < image[1, -1, 0]  # never upside down
        # 32 samples at the middle of their cells span 31 of 32 parts of the crop.
        width, height = (image[0].max() - image[0].min()), (image[1].max() - image[1].min())
        areas.append(float(width * height) * (32 / 31) ** 2 / 200**2)
    assert 35 <= flipped <= 65
    assert min(areas) > 0.47 and max(areas) > 0.85 and np.std(areas) > 0.05


def test_the_whole_image_or_its_mirror(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (24, 24, 3))
    sample = save(tmp_path / "1.png", pixels)
    # Whenever the aspect ratio drawn is not very near 1, the whole image is all that fits.
    mapper = PretrainMapper(image_size=24, min_scale=1.0)
    image = torch.from_numpy(pixels.transpose(2, 0, 1)).to(torch.uint8)
    torch.manual_seed(0)
    seen = {True: 0, False: 0}
    for _ in range(40):
        found = mapper(sample)["image"]
        if torch.equal(found, image) or torch.equal(found, image.flip(2)):
            seen[torch.equal(found, image)] += 1
    assert min(seen.values()) > 0


@pytest.mark.parametrize("name", ["photo.jpg", "photo.png"])
def test_a_format_that_runs_a_program_stays_closed(tmp_path, monkeypatch, name):
    """Pillow starts Ghostscript for an EPS, whatever its name."""
    path = tmp_path / name
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\n%%EOF\n")
    started = []
    monkeypatch.setattr("PIL.EpsImagePlugin.Ghostscript", lambda *a, **k: started.append(a))
    for read in (inspect_image, lambda path: read_pixels(path, "RGB")):
        with pytest.raises((UserError, UnidentifiedImageError)):
            read(str(path))
    assert started == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with a name")
def test_a_pipe_is_no_image(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(UserError, match=r"pipe\.png .*no regular file"):
        read_pixels(str(tmp_path / "pipe.png"), "RGB")

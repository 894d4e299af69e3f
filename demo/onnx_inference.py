#!/usr/bin/env python
"""Run an exported ONNX detector on a picture, with onnxruntime, NumPy and Pillow alone."""

import argparse
import json

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

THRESHOLD = 0.5

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("model", help="what tools/export_model.py --format onnx has written")
parser.add_argument("picture")
parser.add_argument("masks", nargs="?", help="a copy of the picture with its masks, to be written")
args = parser.parse_args()
session = onnxruntime.InferenceSession(args.model)
about = json.loads(session.get_modelmeta().custom_metadata_map["description"])
picture = ImageOps.exif_transpose(Image.open(args.picture)).convert("RGB")

# As the evaluation resizes images: the short side to one length, the long one to at most another.
scale = 1.0
for resize in about["augmentations"] or ():
    if "ResizeShortestEdge" in resize["_target_"]:
        scale = np.max(resize["short_edge_length"]) / min(picture.size)
        scale = min(scale, resize.get("max_size", np.inf) / max(picture.size))
size = int(picture.width * scale + 0.5), int(picture.height * scale + 0.5)
pixels = np.asarray(picture.resize(size, Image.Resampling.BILINEAR), dtype=np.float32)
pixels = pixels if about["input_format"] == "RGB" else pixels[:, :, ::-1]
image = np.ascontiguousarray(pixels.transpose(2, 0, 1))

names = [output.name for output in session.get_outputs()]
found = dict(zip(names, session.run(None, {"image": image}), strict=True))
canvas = np.asarray(picture).copy()
for i in np.flatnonzero(found["scores"] >= THRESHOLD):
    x0, y0, x1, y1 = box = found["boxes"][i] / scale
    print(about["classes"][found["classes"][i]], f"{found['scores'][i]:.2f}", box.round(1))
    if "masks" in found:  # 28 x 28 probabilities, to be stretched over the box
        mask = found["masks"][i, 0]
        at_y = (np.arange(picture.height) + 0.5 - y0) / (y1 - y0) * len(mask) - 0.5
        at_x = (np.arange(picture.width) + 0.5 - x0) / (x1 - x0) * len(mask) - 0.5
        rows, columns = (
            np.maximum(1 - abs(at[:, None] - np.arange(len(mask))), 0) for at in (at_y, at_x)
        )
        canvas[rows @ mask @ columns.T >= 0.5] = (255, 64, 0)
if args.masks:
    Image.fromarray(canvas).save(args.masks)

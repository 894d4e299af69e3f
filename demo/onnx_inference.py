#!/usr/bin/env python
"""Run an exported ONNX detector on a picture, with onnxruntime, NumPy and Pillow alone.

python demo/onnx_inference.py exported/model.onnx photo.jpg [masks.png]
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

THRESHOLD = 0.5

session = onnxruntime.InferenceSession(sys.argv[1])
about = json.loads(session.get_modelmeta().custom_metadata_map["description"])
picture = ImageOps.exif_transpose(Image.open(sys.argv[2])).convert("RGB")

# The file takes images of one size: scale the picture until it fits, pad with the mean pixel.
height, width = about["size"]
scale = min(height / picture.height, width / picture.width)
size = round(picture.width * scale), round(picture.height * scale)
pixels = np.asarray(picture.resize(size, Image.Resampling.BILINEAR), dtype=np.float32)
pixels = pixels if about["input_format"] == "RGB" else pixels[:, :, ::-1]
image = np.tile(np.array(about["pixel_mean"], dtype=np.float32)[:, None, None], (height, width))
image[:, : size[1], : size[0]] = pixels.transpose(2, 0, 1)

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
if len(sys.argv) > 3:
    Image.fromarray(canvas).save(sys.argv[3])

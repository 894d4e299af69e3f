"""The page's server: an image comes as a request's body, and JSON goes back; nothing is kept."""

import math
import socket
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import torch
from flask import Flask, Response, abort, jsonify, render_template, request, send_file
from PIL import Image
from werkzeug.exceptions import HTTPException
from werkzeug.serving import BaseWSGIServer, make_server

from imted.errors import UserError
from imted.modeling import MaskedAutoencoder
from imted.predict import Predictor
from imted.visualization.reconstruction import load_mae, reconstruct

from .attention import box_attention, find_decoder
from .pictures import TooManyPixels, data_url, fit_to_mae, outline, read_image

T = TypeVar("T")

MAX_BYTES = 20_000_000
"""Of a request."""
MAX_WAIT = 30
"""Seconds that a request waits for others before it."""
NUM_EXAMPLES = 3
LOCAL_HOSTS = ("127.0.0.1", "localhost")
MESSAGES = {
    503: "The detector is busy with other images; try again.",
    413: f"The file is larger than {MAX_BYTES // 10**6} MB, the most that is taken.",
    500: "The server failed at this request; its terminal says how.",
}


def create_app(predictor: Predictor, threshold: float = 0.5, host: str = "127.0.0.1") -> Flask:
    """Build the server of one detector.

    Args:
        predictor: The detector, with a threshold of 0: the page has its own.
        threshold: Where the page's slider stands at first.
        host: The address that it will listen at; requests for another name are refused if it is a
            local one, so that no other page in the browser can reach it by a name of its own.
    """
    app = Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = MAX_BYTES
    if host in LOCAL_HOSTS:
        app.config["TRUSTED_HOSTS"] = list(LOCAL_HOSTS)
    model = _Turns()  # requests come in threads, and the model is one
    mae, no_mae = _attempt(lambda: _load_mae(predictor))
    decoder, no_decoder = _attempt(lambda: find_decoder(predictor.model))
    examples = [Path(file).resolve() for file in predictor.examples(NUM_EXAMPLES)]

    @app.get("/")
    def page() -> str:
        settings = {
            "threshold": threshold,
            "maxBytes": MAX_BYTES,
            "tooLarge": MESSAGES[413],
            "colourByClass": len(predictor.description.classes) > 1,
            "blocks": len(decoder.decoder_blocks) if decoder else 0,
            "noAttention": no_decoder,
            "noReconstruction": no_mae,
        }
        return render_template(
            "page.html",
            settings=settings,
            classes=predictor.description.classes,
            weights=predictor.loaded.weights,
            examples=range(len(examples)),
        )

    @app.get("/examples/<int:number>")
    def example(number: int) -> Response:
        if number >= len(examples) or not examples[number].is_file():
            abort(404)
        return send_file(examples[number])

    @app.post("/detect")
    def detect() -> dict[str, Any]:
        image = read_image(request.get_data())
        with model:
            found = predictor(image)
        masks = found.pred_masks.numpy() if found.has("pred_masks") else None
        detections = [
            {
                "box": [round(value, 2) for value in found.pred_boxes.tensor[i].tolist()],
                "score": round(found.scores[i].item(), 4),
                "class": found.pred_classes[i].item(),
                "name": name,
                "outline": "" if masks is None else outline(masks[i]),
            }
            for i, name in enumerate(found.names)
        ]
        size = {"width": image.width, "height": image.height}
        return {**size, "picture": data_url(image, "jpeg"), "detections": detections}

    @app.post("/attention")
    def attention() -> dict[str, Any]:
        image = read_image(request.get_data())
        box = _read_box(request.args.get("box", ""), image)
        with model:
            weights = box_attention(predictor.model, predictor.preprocess(image), box)
        # As many digits as a picture can show.
        return {"weights": weights[0].cpu().double().numpy().round(4).tolist()}

    @app.post("/reconstruction")
    def reconstruction() -> dict[str, Any]:
        if mae is None:
            raise UserError(f"There is no reconstruction: {no_mae}")
        fitted = fit_to_mae(read_image(request.get_data()), mae)
        seed = request.args.get("seed", 0, type=int) % 2**63  # torch takes no more bits
        with model:
            hidden, predicted = reconstruct(mae, fitted, seed)
        pictures = {"image": fitted, "hidden": hidden, "predicted": predicted}
        return {
            name: data_url(Image.fromarray(value[0].permute(1, 2, 0).numpy()), "png")
            for name, value in pictures.items()
        }

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> tuple[Response, int]:
        code = error.code or 500
        return jsonify(error=MESSAGES.get(code, error.description)), code

    @app.errorhandler(UserError)
    def user_error(error: UserError) -> tuple[Response, int]:
        return jsonify(error=str(error)), 413 if isinstance(error, TooManyPixels) else 400

    @app.after_request
    def own_content_only(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = "default-src 'self'; img-src 'self' data:"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response

    return app


class _Turns:
    """Lets one request after the other have the model; one that waits too long is refused."""

    def __init__(self) -> None:
        self._lock = Lock()

    def __enter__(self) -> None:
        if not self._lock.acquire(timeout=MAX_WAIT):
            abort(503)

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def open_server(app: Flask, host: str, port: int) -> BaseWSGIServer:
    """Open the port; `serve_forever` of what is returned answers requests.

    Args:
        app: The server.
        host: A name or address of this machine.
        port: 0 takes a free one.

    Raises:
        UserError: The port is taken, or the address isn't this machine's.
    """
    if not host:
        raise UserError("--host is empty; 0.0.0.0 listens at all of this machine's addresses.")
    try:
        listener = socket.create_server((host, port))
    except (OSError, OverflowError) as error:
        raise UserError(
            f"{host}:{port} can't be listened at ({error}); choose another --port (0: a free one) "
            "or --host."
        ) from None
    with listener:  # the server has a copy of its own
        return make_server(host, port, app, threaded=True, fd=listener.fileno())


def _attempt(build: Callable[[], T]) -> tuple[T | None, str]:
    """Return what is built and "", or None and why it can't be."""
    try:
        return build(), ""
    except UserError as error:
        return None, str(error)


def _load_mae(predictor: Predictor) -> MaskedAutoencoder:
    find_decoder(predictor.model)
    return load_mae(predictor.cfg.model, predictor.cfg.train.init_checkpoint)


def _read_box(text: str, image: Image.Image) -> torch.Tensor:
    """Read "left,top,right,bottom" in pixels, as (1, 4), clipped to the image."""
    try:
        left, top, right, bottom = (float(value) for value in text.split(","))
    except ValueError:
        left, top, right, bottom = (math.nan,) * 4
    left, top = max(left, 0.0), max(top, 0.0)
    right, bottom = min(right, float(image.width)), min(bottom, float(image.height))
    if not (left < right and top < bottom):  # so that NaN isn't one either
        raise UserError(f"box={text} is no box in the image; give left,top,right,bottom in pixels.")
    return torch.tensor([[left, top, right, bottom]])

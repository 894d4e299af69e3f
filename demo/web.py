#!/usr/bin/env python
"""Open a page in the browser that tries a trained detector: boxes, masks, attention, the MAE."""

import argparse
import logging
import sys

from imted import allowed
from imted.errors import UserError, exit_status
from imted.predict import Predictor


def argument_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("source", help="the folder of a training, or a file of weights")
    add("--config-file", default="", metavar="FILE",
        help="the config; by default the config.yaml beside the weights")  # fmt: skip
    add("--confidence-threshold", type=float, default=0.5, metavar="SCORE",
        help="where the slider stands at first (default: 0.5)")  # fmt: skip
    add("--device", help="cpu, cuda or one such as cuda:1; by default the GPU where there is one")
    add("--host", default="127.0.0.1",
        help="address to listen at; 0.0.0.0 for other machines (default: 127.0.0.1)")  # fmt: skip
    add("--port", type=int, default=7860, help="0 takes a free one (default: 7860)")
    allowed.add_option(parser)
    add("--opts", nargs=argparse.REMAINDER, default=[], metavar="key=value",
        help="changes of the config; last on the command line")  # fmt: skip
    return parser


@exit_status
def main(argv: list[str] | None = None) -> None:
    """Serve the page until Ctrl-C."""
    args = argument_parser().parse_args(argv)
    if not 0 <= args.confidence_threshold <= 1:
        raise UserError(
            f"--confidence-threshold is {args.confidence_threshold}; it must be from 0 to 1."
        )
    try:
        from imted.extras.web.app import create_app, open_server
    except ModuleNotFoundError as error:
        raise UserError(
            f"The page needs the package {error.name}; pip install flask (docs/web.md)."
        ) from None
    predictor = Predictor(
        args.source,
        config_file=args.config_file,
        overrides=args.opts,
        device=args.device,
        allow=args.allow,
    )
    app = create_app(predictor, args.confidence_threshold, args.host)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # no line for each request
    server = open_server(app, args.host, args.port)
    print(f"http://{args.host}:{server.port}   (Ctrl-C ends it)", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()
    finally:
        server.server_close()


if __name__ == "__main__":
    sys.exit(main())

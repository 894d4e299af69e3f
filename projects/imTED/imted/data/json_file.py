"""Writing of json files."""

import json
import os
from pathlib import Path
from typing import Any


def write_json(content: Any, path: Path) -> None:
    """Write a json file, whole or not at all; make its folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".json.partial")
    partial.write_text(json.dumps(content), encoding="utf-8")
    os.replace(partial, path)

"""Text files as annotation tools of any system write them."""

import codecs
from pathlib import Path

from imted.errors import UserError

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def read_text(path: Path) -> str:
    """Read a text: UTF-8, UTF-16 as Windows marks it, or else Windows' own Western encoding.

    Raises:
        OSError: It can't be read.
        UserError: It is no text.
    """
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is no regular file.")
    content = path.read_bytes()
    marked = [encoding for mark, encoding in _MARKS.items() if content.startswith(mark)]
    for encoding in marked or ("utf-8", "cp1252"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise UserError(f"{path} is no text in {' or '.join(marked or ['UTF-8'])}; save it as UTF-8.")

"""Pictures of files inside a page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from fran.errors import DataError

MAX_WIDTH = 1100
_QUALITY = 72


@dataclass(frozen=True)
class Embedded:
    """A picture of a page.

    Attributes:
        src: the picture as a data: address.
        width, height: pixels.
        alt: what it shows, in words.
        title: below it.
        note: below that, in small.
    """

    src: str
    width: int
    height: int
    alt: str
    title: str = ""
    note: str = ""


def embed(path: Path, alt: str, title: str = "", note: str = "") -> Embedded:
    """A picture, as JPEG and no wider than `MAX_WIDTH`, so that a page with many stays small.

    Raises:
        DataError: not a picture.
    """
    from PIL import Image

    try:
        with Image.open(path) as opened:
            picture = opened.convert("RGB")
    except (OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: expected a picture, found a file that cannot be read ({error})") from error
    if picture.width > MAX_WIDTH:
        picture = picture.resize((MAX_WIDTH, round(picture.height * MAX_WIDTH / picture.width)))
    stream = io.BytesIO()
    picture.save(stream, format="JPEG", quality=_QUALITY, optimize=True)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return Embedded(f"data:image/jpeg;base64,{data}", picture.width, picture.height, alt, title, note)

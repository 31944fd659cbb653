"""One image file to pixels: what is read as it was meant, and what is refused with a line.

Grey and colour images of 8 bits are read as they are; one bit, palettes, CMYK (by complement, without its colour
profile) and HSV or YCbCr are converted by Pillow. Of 16 bits the high byte is taken, in grey images as in
colour ones; Pillow alone would cut grey values off at 255. Images of 32-bit integers or of floating point
are refused, because their range is not told, and transparent ones, because what shows through is not told; an
alpha channel that is opaque throughout is left out. Of several frames the first counts. The orientation tag of EXIF
is not followed, nor is it in the published codes. JPEG is decoded in full before it is resized: Pillow's
`draft`, which decodes at half the size or less, gives other pixels.
"""

from __future__ import annotations

import os
import struct
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, final

import numpy as np
from PIL import Image, UnidentifiedImageError

from reid_lab.errors import DataError, Fault

Mode = Literal["RGB", "L"]
Window = tuple[int, int, int, int]
"""left, top, width and height in pixels of the stored image."""

BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError)
"""What Pillow raises of files that cannot be read."""

_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")
_RANGELESS = {"I": "32-bit integers", "F": "floating-point numbers"}


def unreadable(file: Path, error: BaseException) -> Fault:
    """The line that tells why a file could not be read."""
    if isinstance(error, UnidentifiedImageError):
        what = "no image file" if os.path.getsize(file) else "the file is empty"
    elif isinstance(error, OSError) and error.strerror:
        what = error.strerror
    else:
        what = str(error) or type(error).__name__
    return Fault(f"the image cannot be read ({what})", str(file))


def plain(image: Image.Image) -> Image.Image:
    """The image in mode L or RGB, as the head of this file says. Raises ValueError for what is refused."""
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        image.load()
        return image
    if image.mode in _RANGELESS:
        kind = _RANGELESS[image.mode]
        raise ValueError(f"its pixels are {kind}, whose range is not told; store them with 8 or 16 bits")
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in _ALPHA or "transparency" in image.info:
        full = image.convert("RGBA")
        if full.getchannel("A").getextrema() != (255, 255):
            raise ValueError("it has transparent pixels; lay it on a background first")
        return full.convert("RGB")
    return image.convert("L" if image.mode == "1" else "RGB")


def framed(
    image: Image.Image, mode: Mode, size: tuple[int, int], window: Window | None, filtered: Image.Resampling
) -> np.ndarray:
    """A window of a plain image, or all of it, at a size: (C, height, width) uint8, a view whose channels lie last.

    Raises:
        ValueError: the window is empty or leaves the image.
    """
    if window is not None:
        left, top, wide, tall = window
        if min(left, top) < 0 or min(wide, tall) < 1 or left + wide > image.width or top + tall > image.height:
            raise ValueError(f"the window {wide}x{tall} at ({left}, {top}) leaves its {image.width}x{image.height}")
        image = image.crop((left, top, left + wide, top + tall))
    if image.mode != mode:
        image = image.convert(mode)
    height, width = size
    if image.size != (width, height):
        image = image.resize((width, height), filtered)
    pixels = np.asarray(image)
    return pixels[None] if mode == "L" else pixels.transpose(2, 0, 1)


@final
class PillowDecoder:
    """Reads files with Pillow."""

    def __call__(self, file: Path) -> Image.Image:
        """The image in mode L or RGB. Raises one of `BROKEN`."""
        with Image.open(file) as opened:
            return plain(opened)


@final
class SimpleJpegDecoder:
    """Reads JPEG files with simplejpeg, which holds the same libjpeg-turbo and gives the same bits, in less time.

    Files of other kinds or colour spaces, and whatever it complains of, are left to Pillow.
    """

    def __init__(self) -> None:
        try:
            self._jpeg: Any = import_module("simplejpeg")
        except ImportError as error:
            what = "decoder: simplejpeg is not installed (pip install simplejpeg)"
            raise DataError(f"{what}; allowed without it: pillow") from error

    def __call__(self, file: Path) -> Image.Image:
        """The image in mode L or RGB. Raises one of `BROKEN`."""
        raw = file.read_bytes()
        pixels = self._decoded(raw) if raw.startswith(b"\xff\xd8\xff") else None
        if pixels is not None:
            return Image.fromarray(pixels)
        with Image.open(BytesIO(raw)) as opened:
            return plain(opened)

    def _decoded(self, raw: bytes) -> np.ndarray | None:
        try:
            height, width, space, _ = self._jpeg.decode_jpeg_header(raw)
            if height * width > (Image.MAX_IMAGE_PIXELS or height * width):
                return None
            if space == "Gray":
                return np.asarray(self._jpeg.decode_jpeg(raw, "GRAY"))[:, :, 0]
            return np.asarray(self._jpeg.decode_jpeg(raw, "RGB")) if space == "YCbCr" else None
        except ValueError:
            return None


def named_decoder(name: Literal["pillow", "simplejpeg"]) -> PillowDecoder | SimpleJpegDecoder:
    """The decoder of this name. Raises `DataError` where its package is not installed."""
    return SimpleJpegDecoder() if name == "simplejpeg" else PillowDecoder()

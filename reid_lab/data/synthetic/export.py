"""The embedded benchmark as a sheet to look at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np
from PIL import Image, ImageDraw

from reid_lab.contracts import IMAGE_ROLES
from reid_lab.data.synthetic.captions import describe
from reid_lab.data.synthetic.dataset import Synthetic
from reid_lab.data.synthetic.sensors import render
from reid_lab.data.synthetic.world import SPLITS
from reid_lab.errors import DataError

_ZOOM = 2


def contact_sheet(dataset: Synthetic, pids: Sequence[int]) -> Image.Image:
    """One person per row: all images in rgb, then the first one in the other modalities; its captions below.

    All modalities are drawn, whether or not they are among the data set's roles.

    Raises:
        DataError: a pid that the data set does not have.
    """
    world = dataset.world
    height, width = world.image_size
    columns = max(world.images) + len(IMAGE_ROLES) - 1
    letters = columns * width * _ZOOM // 6
    strip = 12 * 7
    sheet = Image.new("RGB", (columns * width * _ZOOM, len(pids) * (height * _ZOOM + strip)), "white")
    draw = ImageDraw.Draw(sheet)
    for row, pid in enumerate(pids):
        split, number = _whose(dataset, pid)
        each = world.images[SPLITS.index(split)]
        shown = [("rgb", k) for k in range(each)] + [(role, 0) for role in IMAGE_ROLES[1:]]
        top = row * (height * _ZOOM + strip)
        for column, (role, image) in enumerate(shown):
            pixels = np.broadcast_to(render(world, split, number, image, role), (3, height, width))
            cell = Image.fromarray(np.ascontiguousarray(pixels.transpose(1, 2, 0)))
            cell = cell.resize((width * _ZOOM, height * _ZOOM), Image.Resampling.NEAREST)
            sheet.paste(cell, (column * width * _ZOOM, top))
        texts = [
            describe(world, dataset.spec.wording, split, number, 0, form).text
            for form in ("caption", "id_caption", "cloth_caption")
        ]
        lines = [line for text in texts for line in wrap(text, letters)]
        for k, line in enumerate(lines[: strip // 12]):
            draw.text((4, top + height * _ZOOM + 12 * k), line, fill="black")
    return sheet


def write_contact_sheet(dataset: Synthetic, pids: Sequence[int], path: Path) -> None:
    """Writes `contact_sheet` to an image file, in the format of its suffix.

    Raises:
        DataError: as `contact_sheet`; a suffix of no image format; a file that cannot be written.
    """
    sheet = contact_sheet(dataset, pids)
    try:
        sheet.save(path)
    except ValueError as error:
        raise DataError(f"{path}: no image format has this suffix; name the file .png or .jpg") from error
    except OSError as error:
        raise DataError(f"{path}: cannot write the sheet ({error.strerror or error})") from error


def _whose(dataset: Synthetic, pid: int) -> tuple[str, int]:
    for split, count in zip(SPLITS, dataset.world.identities, strict=True):
        first = dataset.world.first_pid(split)
        if first <= pid < first + count:
            return split, pid - first
    raise DataError(f"no person {pid}; the data set has pids 0 to {sum(dataset.world.identities) - 1}")

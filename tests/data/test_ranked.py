"""Pictures and pages of rankings: what is drawn where, and nothing that a name or a caption could smuggle in."""

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from reid_lab.data.pages import html
from reid_lab.data.ranked import RIGHT, UNKNOWN, WRONG, Hit, Ranked, frame_of, ranked_list, sheet

COLOURS = [(250, 200, 40), (40, 90, 250), (150, 40, 220)]


def hits(*correct, size=(20, 40)):
    images = [Image.new("RGB", size, COLOURS[k % 3]) for k in range(len(correct))]
    return [
        Hit(image, f"{k}.png", 0.9 - k / 10, right)
        for k, (image, right) in enumerate(zip(images, correct, strict=True))
    ]


def count(image, colour):
    return int((np.asarray(image) == np.array(colour, dtype=np.uint8)).all(axis=2).sum())


def test_frames_say_what_is_known():
    drawn = sheet(Ranked("who", (), hits(True, False, None)), height=40)
    frame = (20 + 6) * (40 + 6) - 20 * 40
    for colour, image in zip((RIGHT, WRONG, UNKNOWN), COLOURS, strict=True):
        assert count(drawn, colour) == frame
        assert count(drawn, image) == 20 * 40
    assert [frame_of(right) for right in (True, False, None)] == [RIGHT, WRONG, UNKNOWN]


def test_rows_wrap_and_images_are_not_distorted():
    page = Ranked(
        "who", [("nir", Image.new("RGB", (30, 40), (3, 77, 201)))], [*hits(None, None), *hits(None, size=(40, 40))]
    )
    narrow, wide = sheet(page, 40, columns=2), sheet(page, 40, columns=3)
    assert narrow.width < wide.width
    assert narrow.height > wide.height
    for drawn in (narrow, wide):
        assert count(drawn, COLOURS[0]) == 20 * 40 + 40 * 40
        assert count(drawn, (3, 77, 201)) == 30 * 40


@pytest.mark.parametrize(("columns", "across", "down"), [(6, 6 + 3, 1), (3, 3 + 2, 2), (2, 2 + 1, 3)])
def test_query_images_stand_left_of_the_hits_and_leave_no_row_empty(columns, across, down):
    asked = [(role, Image.new("RGB", (20, 40), colour)) for role, colour in zip("abc", COLOURS, strict=True)]
    drawn = np.asarray(sheet(Ranked("", asked, hits(*6 * [True])), 40, columns=columns))
    cell, row = 20 + 2 * 3 + 6, 40 + 2 * 3 + 12 + 6
    assert drawn.shape[:2] == (6 + down * row, 6 + across * cell + 12)
    frames = (drawn == RIGHT).all(axis=2)
    left = np.flatnonzero(frames.any(axis=0)).min()
    for colour in COLOURS:
        assert (drawn[:, :left] == colour).all(axis=2).sum() == 20 * 40


def test_ranked_list_of_arrays():
    rgb = np.full((2, 3, 8, 4), 9, dtype=np.uint8)
    drawn = ranked_list("a caption", [], rgb, [True, False], [0.5, 0.25], height=16)
    assert count(drawn, RIGHT) == count(drawn, WRONG) == (8 + 6) * (16 + 6) - 8 * 16
    grey = ranked_list("", [("nir", rgb[0, :1])], rgb[:, :1], [True, False], [0.5, 0.25], height=16)
    above = grey.crop((0, 0, grey.width, 6 + 16 + 6))  # without the words, whose edges are grey
    assert count(above, (9, 9, 9)) == 3 * 8 * 16
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        ranked_list("", [], rgb, [True], [0.5, 0.25])


def test_a_page_holds_its_images():
    page = html(Ranked("who", [("nir", Image.new("L", (3, 4), 7))], hits(True, False, None, size=(300, 600)), ["here"]))
    images = [Image.open(io.BytesIO(base64.b64decode(data))) for data in re.findall(r"base64,([^\"]+)", page)]
    assert [image.size for image in images] == [(3, 4), *[(144, 288)] * 3]
    for image, colour in zip(images[1:], COLOURS, strict=True):
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - colour).max() <= 4
    assert [page.count(f'<li class="{kind}">') for kind in ("right", "wrong", "unknown")] == [1, 1, 1]
    assert page.count("✓") == page.count("✗") == 2  # the hit, and the key
    assert "✓" not in html(Ranked("who", (), hits(None)))
    assert "somebody else" not in html(Ranked("who", (), hits(None)))
    assert html(Ranked("", (), [])).endswith("</ol></body></html>\n")


def test_what_is_written_is_text():
    name = '"><script>alert(1)</script>'
    page = html(
        Ranked(name, [(name, Image.new("RGB", (2, 2)))], [Hit(Image.new("RGB", (2, 2)), name, 0.5, None)], [name])
    )
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 8
    assert not re.search(r"(?:src|href)=\"(?!data:image/jpeg)", page)

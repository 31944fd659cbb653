"""Image files: what is read, what is refused, and what is remembered."""

import os
import struct
import sys
import zlib
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from reid_lab.data import files
from reid_lab.data.decode import SimpleJpegDecoder
from reid_lab.data.files import ImageFiles
from reid_lab.errors import DataError

RGB = np.random.default_rng(0).integers(0, 256, (12, 8, 3), dtype=np.uint8)


def read(folder, name, mode="RGB", size=(12, 8), **options):
    return ImageFiles(folder, **options).read([name], mode, size)[0]


def whole(folder, name, mode="RGB"):
    return read(folder, name, mode).transpose(1, 2, 0) if mode == "RGB" else read(folder, name, mode)[0]


def refused(folder, names, **options):
    with pytest.raises(DataError) as caught:
        ImageFiles(folder).read(names, "RGB", (12, 8), **options)
    return str(caught.value).replace(f"{folder}/", "").splitlines()


def test_pixels_are_pillows(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    Image.fromarray(RGB).save(tmp_path / "a.jpg", quality=90)
    assert (whole(tmp_path, "a.png") == RGB).all()
    assert (whole(tmp_path, "a.jpg") == np.asarray(Image.open(tmp_path / "a.jpg"))).all()
    assert (whole(tmp_path, "a.png", "L") == np.asarray(Image.fromarray(RGB).convert("L"))).all()
    for name, how in (("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)):
        wanted = np.asarray(Image.fromarray(RGB).resize((4, 7), how)).transpose(2, 0, 1)
        assert (read(tmp_path, "a.png", size=(7, 4), resample=name) == wanted).all()


def test_a_large_jpeg_is_decoded_in_full_before_it_is_made_small(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (256, 128, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)
    wanted = Image.open(tmp_path / "a.jpg").convert("RGB").resize((16, 32), Image.Resampling.BILINEAR)
    assert (read(tmp_path, "a.jpg", size=(32, 16)) == np.asarray(wanted).transpose(2, 0, 1)).all()
    drafted = Image.open(tmp_path / "a.jpg")
    drafted.draft("RGB", (16, 32))
    assert drafted.size != (128, 256)
    assert (np.asarray(drafted.resize((16, 32), Image.Resampling.BILINEAR)) != np.asarray(wanted)).any()


def test_palettes_one_bit_and_cmyk_are_converted(tmp_path):
    palette = Image.fromarray(RGB).quantize(16)
    palette.save(tmp_path / "p.png")
    assert Image.open(tmp_path / "p.png").mode == "P"
    colours = np.array(palette.getpalette()).reshape(-1, 3)
    assert (whole(tmp_path, "p.png") == colours[np.asarray(palette)]).all()
    assert (whole(tmp_path, "p.png", "L") == np.asarray(palette.convert("RGB").convert("L"))).all()

    bits = RGB[:, :, 0] > 127
    Image.fromarray(bits).save(tmp_path / "1.png")
    assert Image.open(tmp_path / "1.png").mode == "1"
    assert (whole(tmp_path, "1.png", "L") == bits * 255).all()

    ink = np.random.default_rng(2).integers(0, 256, (12, 8, 4)).astype(np.int64)
    Image.fromarray(ink.astype(np.uint8), "CMYK").save(tmp_path / "c.tiff")
    light = (255 - ink[..., :3]) * (255 - ink[..., 3:]) / 255
    assert abs(whole(tmp_path, "c.tiff") - light).max() <= 1
    Image.fromarray(np.full((16, 16, 4), (0, 255, 255, 0), dtype=np.uint8), "CMYK").save(tmp_path / "c.jpg")
    red = read(tmp_path, "c.jpg", size=(16, 16))
    assert abs(red.astype(int) - np.array([255, 0, 0])[:, None, None]).max() < 16


def png16(path, pixels):
    """A PNG of 16 bits, grey (h, w) or colour (h, w, 3), written by hand: Pillow writes no such colour image."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, 2 if pixels.ndim == 3 else 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    data = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)


def test_sixteen_bits_lose_their_low_byte_and_are_not_cut_off(tmp_path):
    deep = np.random.default_rng(3).integers(0, 1 << 16, (12, 8, 3))
    png16(tmp_path / "grey.png", deep[:, :, 0])
    png16(tmp_path / "colour.png", deep)
    Image.fromarray(deep[:, :, 0].astype(np.uint16)).save(tmp_path / "grey.tiff")
    Image.fromarray(deep[:, :, 0].astype(">u2")).save(tmp_path / "big.tiff")
    assert Image.open(tmp_path / "grey.png").mode.startswith("I;16")
    assert (whole(tmp_path, "colour.png") == deep >> 8).all()
    for name in ("grey.png", "grey.tiff", "big.tiff"):
        assert (whole(tmp_path, name, "L") == deep[:, :, 0] >> 8).all()
        assert (whole(tmp_path, name) == (deep[:, :, :1] >> 8)).all()


def test_pixels_without_a_range_are_refused(tmp_path):
    Image.fromarray(np.ones((12, 8), dtype=np.int32)).save(tmp_path / "i.tiff")
    Image.fromarray(np.ones((12, 8), dtype=np.float32)).save(tmp_path / "f.tiff")
    what = "whose range is not told; store them with 8 or 16 bits)"
    assert refused(tmp_path, ["i.tiff", "f.tiff"]) == [
        f"i.tiff: the image cannot be read (its pixels are 32-bit integers, {what}",
        f"f.tiff: the image cannot be read (its pixels are floating-point numbers, {what}",
    ]


def test_an_alpha_channel_is_left_out_where_it_is_opaque(tmp_path):
    for name, mode in (("rgba.png", "RGBA"), ("la.png", "LA")):
        image = Image.fromarray(RGB).convert(mode)
        image.save(tmp_path / name)
        assert (whole(tmp_path, name) == np.asarray(image.convert("RGB"))).all()
        image.putpixel((3, 3), (*image.getpixel((3, 3))[:-1], 254))
        image.save(tmp_path / f"thin_{name}")
    Image.fromarray(RGB).save(tmp_path / "key.png", transparency=tuple(RGB[4, 4].tolist()))
    Image.fromarray(RGB).save(tmp_path / "unused_key.png", transparency=(1, 2, 3))
    assert (whole(tmp_path, "unused_key.png") == RGB).all()
    palette = Image.fromarray(RGB).quantize(4)
    palette.save(tmp_path / "palette.png", transparency=2)
    names = ["thin_rgba.png", "thin_la.png", "key.png", "palette.png"]
    what = "the image cannot be read (it has transparent pixels; lay it on a background first)"
    assert refused(tmp_path, names) == [f"{name}: {what}" for name in names]


def test_the_orientation_tag_is_not_followed(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    Image.fromarray(RGB).save(tmp_path / "turned.png", exif=exif)
    assert Image.open(tmp_path / "turned.png").getexif()[0x0112] == 6
    assert (whole(tmp_path, "turned.png") == RGB).all()


def test_every_unreadable_file_is_named_in_a_line(tmp_path):
    Image.fromarray(RGB).resize((64, 64)).save(tmp_path / "good.jpg")
    raw = (tmp_path / "good.jpg").read_bytes()
    (tmp_path / "truncated.jpg").write_bytes(raw[: len(raw) // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "folder.jpg").mkdir()
    os.symlink(tmp_path / "loop_b.jpg", tmp_path / "loop_a.jpg")
    os.symlink(tmp_path / "loop_a.jpg", tmp_path / "loop_b.jpg")
    names = ["truncated.jpg", "empty.jpg", "good.jpg", "text.jpg", "folder.jpg", "loop_a.jpg", "missing.jpg"]
    lines = refused(tmp_path, names)
    assert [line.partition(":")[0] for line in lines] == [name for name in names if name != "good.jpg"]
    assert "image file is truncated" in lines[0]
    assert lines[1:] == [
        "empty.jpg: the image cannot be read (the file is empty)",
        "text.jpg: the image cannot be read (no image file)",
        "folder.jpg: the image cannot be read (Is a directory)",
        "loop_a.jpg: the image cannot be read (Too many levels of symbolic links)",
        "missing.jpg: the image cannot be read (No such file or directory)",
    ]


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    if os.access(tmp_path / "a.png", os.R_OK):  # root may read everything

        def denied(path, *rest, **more):
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(Image, "open", denied)
    assert refused(tmp_path, ["a.png"]) == ["a.png: the image cannot be read (Permission denied)"]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 11), st.integers(0, 7), st.integers(1, 12), st.integers(1, 8), st.sampled_from(["RGB", "L"]))
def test_a_window_is_a_part_of_the_image(tmp_path_factory, top, left, tall, wide, mode):
    folder = tmp_path_factory.mktemp("windows")
    Image.fromarray(RGB).save(folder / "a.png")
    tall, wide = min(tall, 12 - top), min(wide, 8 - left)
    found = ImageFiles(folder).read(["a.png"], mode, (tall, wide), [(left, top, wide, tall)])[0]
    full = whole(folder, "a.png").transpose(2, 0, 1) if mode == "RGB" else whole(folder, "a.png", "L")[None]
    assert (found == full[:, top : top + tall, left : left + wide]).all()


def test_windows_of_one_file_are_decoded_once_and_kept_apart(tmp_path, monkeypatch):
    triple = np.concatenate([RGB, 255 - RGB, RGB[::-1]], axis=1)
    Image.fromarray(triple).save(tmp_path / "triple.png")
    Image.fromarray(RGB).save(tmp_path / "other.png")
    opened, first = [], Image.open
    monkeypatch.setattr(Image, "open", lambda path, *rest: opened.append(path.name) or first(path, *rest))
    images = ImageFiles(tmp_path, cache="all")
    windows = [(0, 0, 8, 12), (8, 0, 8, 12), (16, 0, 8, 12), None, (0, 0, 8, 12)]
    paths = ["triple.png"] * 3 + ["other.png", "triple.png"]
    found = images.read(paths, "RGB", (12, 8), windows).transpose(0, 2, 3, 1)
    assert sorted(opened) == ["other.png", "triple.png"]
    assert all((a == b).all() for a, b in zip(found, [RGB, 255 - RGB, RGB[::-1], RGB, RGB], strict=True))
    rows = np.array(windows[:3])  # as the columns of a table hold them
    assert (images.read(["triple.png"] * 3, "RGB", (12, 8), rows).transpose(0, 2, 3, 1) == found[:3]).all()
    assert len(opened) == 2
    squeezed = images.read(["triple.png"], "RGB", (12, 8))[0].transpose(1, 2, 0)
    assert (squeezed != RGB).any()  # all of the file is another image than its first window
    assert len(opened) == 3


def test_a_window_outside_its_image_is_refused(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    windows = [(0, 0, 8, 12), (4, 0, 5, 12), (0, -1, 2, 2), (0, 0, 0, 3), (0, 6, 8, 7)]
    lines = refused(tmp_path, ["a.png"] * 5, windows=windows)
    assert lines == [
        f"a.png: the image cannot be read (the window {size} at {place} leaves its 8x12)"
        for size, place in (("5x12", "(4, 0)"), ("2x2", "(0, -1)"), ("0x3", "(0, 0)"), ("8x7", "(0, 6)"))
    ]


@pytest.mark.parametrize(("cache", "again"), [("all", 0), ("auto", 0), ("none", 3), (2 * 12 * 8 * 3, 1), (0, 3)])
def test_what_is_kept_is_not_decoded_again(tmp_path, monkeypatch, cache, again):
    names = ["a.png", "b.png", "c.png"]
    for number, name in enumerate(names):
        Image.fromarray(RGB + np.uint8(number)).save(tmp_path / name)
    opened, first = [], Image.open
    monkeypatch.setattr(Image, "open", lambda path, *rest: opened.append(path.name) or first(path, *rest))
    images = ImageFiles(tmp_path, cache=cache)
    before = images.read(names, "RGB", (12, 8))
    assert len(opened) == 3
    assert (images.read([*names, "a.png"], "RGB", (12, 8)) == before[[0, 1, 2, 0]]).all()
    assert len(opened) == 3 + again
    assert images.cache.nbytes == (3 - again) * RGB.nbytes


def test_what_is_handed_out_can_be_written_into(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    images = ImageFiles(tmp_path)
    images.read(["a.png"], "RGB", (12, 8))[:] = 0
    assert images.read(["a.png"], "RGB", (12, 8)).any()


def test_modes_and_sizes_are_kept_apart(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    images = ImageFiles(tmp_path)
    shapes = [images.read(["a.png"], *how).shape for how in (("RGB", (12, 8)), ("L", (12, 8)), ("L", (6, 4)))]
    assert shapes == [(1, 3, 12, 8), (1, 1, 12, 8), (1, 1, 6, 4)]


def test_simplejpeg_is_asked_for_by_name(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    with pytest.raises(DataError, match=r"simplejpeg is not installed \(pip install simplejpeg\); allowed.*: pillow"):
        ImageFiles(tmp_path, decoder="simplejpeg")


class Complaining:
    """Stands for a simplejpeg that reads no file."""

    @staticmethod
    def decode_jpeg_header(raw):
        raise ValueError("corrupt")


def test_what_simplejpeg_complains_of_is_left_to_pillow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "simplejpeg", Complaining)
    Image.fromarray(RGB).save(tmp_path / "a.jpg")
    Image.fromarray(RGB).save(tmp_path / "a.png")
    (tmp_path / "text.jpg").write_bytes(b"\xff\xd8\xff and no more")
    images = ImageFiles(tmp_path, decoder="simplejpeg")
    assert (
        images.read(["a.jpg", "a.png"], "RGB", (12, 8)) == ImageFiles(tmp_path).read(["a.jpg", "a.png"], "RGB", (12, 8))
    ).all()
    with pytest.raises(DataError, match=r"text\.jpg: the image cannot be read"):
        images.read(["text.jpg"], "RGB", (12, 8))


def test_simplejpeg_gives_pillows_bits(tmp_path):
    pytest.importorskip("simplejpeg")
    draw = np.random.default_rng(5)
    read = SimpleJpegDecoder()
    for number in range(24):
        height, width = draw.integers(9, 90, 2).tolist()
        pixels = np.asarray(Image.fromarray(draw.integers(0, 256, (9, 7, 3), dtype=np.uint8)).resize((width, height)))
        image = Image.fromarray(pixels).convert("L" if number % 4 == 3 else "RGB")
        options = {"quality": int(draw.integers(20, 100)), "progressive": bool(number % 2)}
        if image.mode == "RGB":
            options["subsampling"] = number % 3
        data = BytesIO()
        image.save(data, "JPEG", **options)
        (tmp_path / "a.jpg").write_bytes(data.getvalue())
        decoded = read._decoded(data.getvalue())
        assert decoded is not None
        assert (decoded == np.asarray(Image.open(data))).all()
        assert (np.asarray(read(tmp_path / "a.jpg")) == decoded).all()


def test_stated_sizes_are_those_of_the_headers(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    (tmp_path / "empty.png").write_bytes(b"")
    assert files.common_size(tmp_path, ["a.png"]) == (12, 8)
    with pytest.raises(DataError, match=r"empty\.png: the image cannot be read \(the file is empty\)"):
        files.common_size(tmp_path, ["empty.png"])

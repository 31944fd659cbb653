"""The world written out as ICFG-PEDES: keys, names and pixels."""

import json
import re

import numpy as np
from PIL import Image

from tests.data.readers.worlds import of_role, world, written


def test_records_and_files_are_those_of_the_data_set(tmp_path):
    folder = written("icfg_pedes", tmp_path / "out")
    records = json.loads((folder / "ICFG_PEDES.json").read_text())
    items = world().items
    rgb = of_role(world(), "rgb")
    assert all(list(record) == ["split", "captions", "file_path", "processed_tokens", "id"] for record in records)
    assert [record["id"] for record in records] == items.pid[rgb].tolist()
    assert [record["captions"] for record in records] == [[text] for text in items.caption[items.role == "caption"]]
    name = re.compile(r"(train|test)/(\d{4})/\2_\d{3}_(\d{2})_0303(morning|noon|afternoon)_\d{4}_0\.png")
    found = [name.fullmatch(record["file_path"]) for record in records]
    assert [match[1] for match in found] == ["test" if s == "test" else "train" for s in items.split[rgb]]
    assert [int(match[3]) - 1 for match in found] == items.camid[rgb].tolist()
    assert len(list((folder / "imgs").rglob("*.png"))) == len({record["file_path"] for record in records}) == len(rgb)
    for record, pixels in zip(records, world().images(rgb, None), strict=True):
        with Image.open(folder / "imgs" / record["file_path"]) as file:
            assert np.array_equal(np.asarray(file).transpose(2, 0, 1), pixels)


def test_jpeg_files_are_named_as_the_authors_name_them(tmp_path):
    folder = written("icfg_pedes", tmp_path / "out", "jpeg")
    paths = [record["file_path"] for record in json.loads((folder / "ICFG_PEDES.json").read_text())]
    assert all(path.endswith(".jpg") for path in paths)
    with Image.open(folder / "imgs" / paths[0]) as file:
        assert file.format == "JPEG"

"""The world written out as RSTPReid: keys, names and pixels."""

import json
import re

import numpy as np
from PIL import Image

from tests.data.readers.worlds import of_role, world, written


def test_records_and_files_are_those_of_the_data_set(tmp_path):
    folder = written("rstpreid", tmp_path / "out")
    records = json.loads((folder / "data_captions.json").read_text())
    items = world().items
    rgb = of_role(world(), "rgb")
    assert all(list(record) == ["id", "img_path", "captions", "split"] for record in records)
    assert [record["id"] for record in records] == items.pid[rgb].tolist()
    assert [record["split"] for record in records] == items.split[rgb].tolist()
    assert [record["captions"][0] for record in records] == items.caption[items.role == "caption"].tolist()
    assert all(len(record["captions"]) == 2 for record in records)
    assert len({text for record in records for text in record["captions"]}) > len(records)
    found = [re.fullmatch(r"(\d{4})_c(\d+)_\d{4}\.png", record["img_path"]) for record in records]
    assert [int(match[1]) for match in found] == items.pid[rgb].tolist()
    assert [int(match[2]) - 1 for match in found] == items.camid[rgb].tolist()
    assert len(list((folder / "imgs").iterdir())) == len(rgb)
    for record, pixels in zip(records, world().images(rgb, None), strict=True):
        with Image.open(folder / "imgs" / record["img_path"]) as file:
            assert np.array_equal(np.asarray(file).transpose(2, 0, 1), pixels)

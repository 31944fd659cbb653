"""The world written out as one's own folder: all its roles, one file that describes them."""

import csv

import numpy as np
from PIL import Image

from reid_lab.contracts import ROLES
from reid_lab.data.writers import writer
from tests.data.readers.worlds import of_role, world, written


def rows(folder):
    with (folder / "items.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_image_has_a_row_and_the_last_of_a_moment_its_captions(tmp_path):
    folder = written("folder", tmp_path / "out", roles=ROLES)
    drawn, found = world(ROLES), rows(folder)
    assert [row["modality"] for row in found] == ["rgb", "nir", "tir", "sketch", "cpencil"] * 16
    assert [row["caption"] for row in found[4::5]] == drawn.items.caption[drawn.items.role == "caption"].tolist()
    assert not any(row["caption"] for row in found if row["modality"] != "cpencil")
    for role in ("rgb", "tir"):
        own = [row for row in found if row["modality"] == role]
        for row, pixels in zip(own, drawn.images(of_role(drawn, role), None), strict=True):
            with Image.open(folder / row["path"]) as file:
                assert np.array_equal(np.atleast_3d(np.asarray(file)).transpose(2, 0, 1), pixels)
    assert len(list(folder.rglob("*.png"))) == len(found)


def test_a_world_of_words_has_rows_without_images(tmp_path):
    folder = written("folder", tmp_path / "out", roles=("caption", "id_caption"))
    assert len(rows(folder)) == 16
    assert all(row["caption"] and not row["path"] and not row["cloth_caption"] for row in rows(folder))


def test_all_roles_are_drawn_unless_fewer_are_asked_for():
    assert writer("folder").knobs["roles"] == list(ROLES)
    assert writer("folder").roles == ()

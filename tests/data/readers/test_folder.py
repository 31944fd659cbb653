"""The reader of one's own data: what a CSV or Parquet file may say, and every way in which it may be wrong."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reid_lab.contracts import ROLES
from reid_lab.data.items import pairs
from reid_lab.data.readers import folder as module
from reid_lab.errors import DataError
from tests.data.readers.worlds import faults, of_role, opened, world, written

NAME = "folder"


def made(root, text, images=()):
    """A folder with `items.csv` and images of the given paths."""
    root.mkdir(parents=True, exist_ok=True)
    for path in images:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 16)).save(root / path, format="PNG")
    (root / "items.csv").write_text(text, encoding="utf-8")
    return root


def column(items, name):
    return getattr(items, name).tolist()


def test_a_written_world_is_read_back_in_all_roles(tmp_path):
    folder = written(NAME, tmp_path / "own", roles=ROLES)
    dataset, drawn = opened(NAME, folder), world(ROLES)
    for name in ("split", "role", "side", "pid", "camid", "scene", "clothes", "image_id", "number", "caption"):
        assert column(dataset.items, name) == column(drawn.items, name), name
    for role in ("rgb", "nir", "tir", "sketch", "cpencil"):
        index = of_role(drawn, role)
        assert np.array_equal(dataset.images(index, None), drawn.images(index, None)), role


def test_a_parquet_file_says_the_same(tmp_path):
    folder = written(NAME, tmp_path / "own")
    first = opened(NAME, folder)
    pandas.read_csv(folder / "items.csv").to_parquet(folder / "tables.parquet")
    second = opened(NAME, folder, index="tables.parquet")
    for name in ("split", "role", "pid", "camid", "scene", "clothes", "image_id", "number", "caption", "path"):
        assert column(second.items, name) == column(first.items, name), name


def test_the_example_of_the_documentation(tmp_path):
    lines = [line[4:] for line in module.__doc__.splitlines() if line.startswith("    ")]
    images = ("train/7_1.jpg", "train/7_2.png", "test/9_1.jpg", "test/x.jpg")
    items = opened(NAME, made(tmp_path, "\n".join(lines), images)).items
    assert column(items, "role") == ["rgb", "caption", "caption", "nir", "rgb", "caption", "rgb"]
    assert column(items, "pid") == [0, 0, 0, 0, 1, 1, -1]
    assert column(items, "camid") == [0, 0, 0, 1, 0, -1, 1]
    assert column(items, "side") == ["", "", "", "", "gallery", "query", "query"]
    assert column(items, "number") == [-1, 0, 1, -1, -1, 0, -1]
    assert column(items, "image_id") == [0, 0, 0, 1, 2, -1, 3]
    assert column(items, "caption")[1].startswith("a woman in a red coat")


def test_labels_that_are_no_integers_are_numbered_in_sorted_order(tmp_path):
    text = "path,pid,camid,clothes,split\na.png,10,b,7,train\nb.png,9,a,x,train\nc.png,9,,,train\n"
    items = opened(NAME, made(tmp_path, text, ("a.png", "b.png", "c.png"))).items
    assert column(items, "pid") == [10, 9, 9]
    assert column(items, "camid") == [1, 0, -1]
    assert column(items, "clothes") == [0, 1, -1]


def test_rows_of_one_moment_share_it_and_its_captions(tmp_path):
    text = (
        "path,pid,split,modality,moment,caption,id_caption,cloth_caption\n"
        "v.png,1,train,VIS,m,a man,,\n"
        "n.png,1,train,NI,m,a man,,\n"
        "t.png,1,train,lidar,m,,,\n"
        ",1,train,,m,,a body,a coat\n"
        "w.png,1,train,,,,a head,\n"
    )
    folder = made(tmp_path, text, ("v.png", "n.png", "t.png", "w.png"))
    items = opened(NAME, folder, aliases={"lidar": "tir"}).items
    assert column(items, "role") == [
        "rgb", "caption", "nir", "tir", "id_caption", "cloth_caption", "rgb", "id_caption"
    ]  # fmt: skip
    assert column(items, "image_id") == [0, 0, 0, 0, 0, 0, 1, 1]
    assert column(items, "number") == [-1, 0, -1, -1, 1, 1, -1, 0]
    assert len(pairs(items, "train")) == 1
    assert faults(NAME, folder)[0].startswith(f"{folder / 'items.csv'}:4: unknown modality 'lidar'")


def test_a_byte_order_mark_blank_lines_and_quoted_lines_are_read(tmp_path):
    folder = made(tmp_path, "", ("ä.png",))
    text = '\ufeffpath,pid,split,caption\r\n\r\nä.png,1,train,"two\nlines, and a comma"\r\n,,,\r\n'
    (folder / "items.csv").write_bytes(text.encode())
    assert column(opened(NAME, folder).items, "caption") == [None, "two\nlines, and a comma"]


HEAD = "path,pid,split,side,modality,caption,moment,camid\n"
GOOD = "a.png,1,train,,,,,\n"


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("b.png,1,dev,,,,,", "2: unknown split 'dev'; allowed: test, train, val"),
        ("b.png,1,,,,,,", "2: split is empty; allowed: train, val, test"),
        ("b.png,1,test,galery,,,,", "2: unknown side 'galery'; allowed: gallery, query; did you mean 'gallery'?"),
        ("b.png,,train,,,,,", "2: pid is empty; only queries of test may do without"),
        ("b.png,-1,test,gallery,,,,", "2: pid is empty; only queries of test may do without"),
        ("b.png,,test,,,,,", "2: pid is empty; only queries of test may do without"),
        ("b.png,-2,train,,,,,", "2: pid must lie between 0 and 2147483648, not -2"),
        ("b.png,1,train,,,,,99999999999", "2: camid must lie between 0 and 2147483648, not 99999999999"),
        ("b.png,1,train,,,12.5,,", "2: caption must be text, not the number 12.5"),
        (",1,train,,,,,", "2: neither path nor caption"),
        (",1,train,,rgb,a man,,", "2: modality 'rgb' is an image, and the row has no path"),
        ("b.png,1,train,,text,a man,,", "2: modality 'text' is no image, and the row has a path"),
        ("b.png,1,train,,infrared,,,", "2: unknown modality 'infrared'; "),
        ("b\0.png,1,train,,,,,", "2: path 'b\\x00.png' is no path"),
        ('b.png,1,"t\nrain",,,,,', "2: unknown split 't\\nrain'; allowed: test, train, val; did you mean 'train'?"),
        ("b.png,1,train,,,", "2: 6 cells, but the header has 8"),
        (GOOD + "a.png,1,train,,,,,", "3: the same stands in line 2"),
        (GOOD + "a.png,1,train,,,said,,\na.png,1,train,,,said,,", "4: the same stands in line 3"),
        (",1,train,,,said,,\n,1,train,,,said,,", "3: the same stands in line 2"),
        (GOOD + "a.png,2,train,,,said,,", "3: pid of a.png is '2', but '1' in line 2"),
        ("a.png,1,train,,,,m,\n,1,test,,,said,m,", "3: split of the moment m is 'test', but 'train' in line 2"),
        ("a.png,1,train,,,,m,\nb.png,1,train,,,,m,", "3: the moment m has another rgb image in line 2"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, rows, told):
    folder = made(tmp_path, f"{HEAD}{rows}\n", ("a.png", "b.png"))
    (line, *others) = faults(NAME, folder)
    assert line.startswith(f"{folder / 'items.csv'}:{told}")
    assert not [other for other in others if "two splits" not in other]


def test_all_wrong_rows_are_told_at_once(tmp_path):
    folder = made(tmp_path, f"{HEAD}b.png,1,dev,x,,,,\n,1,train,,,,,\n{GOOD}none.png,1,train,,,,,\n", ("a.png",))
    told = faults(NAME, folder)
    assert [line.split(": ")[0] for line in told[:3]] == [f"{folder / 'items.csv'}:{k}" for k in (2, 2, 3)]
    assert told[3:] == [f"{folder / 'none.png'}: the image is missing"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("path,pid,split,capton\n", [":1: unknown column 'capton'; allowed: ", "did you mean 'caption'?"]),
        ("path,split\n", [":1: no column pid"]),
        ("pid,split\n", [":1: no column path"]),
        ("path,pid,split,pid\n", [":1: the column pid stands there twice"]),
        ("path;pid;split\n", [":1: columns must be separated by commas"]),
        ("", [": is empty; a header with the names of the columns is expected"]),
        ('path,pid,split\n"a"b,1,train\n', [":2: no CSV ("]),
        ('path,pid,split\na.png,1,"train\n', [":2: no CSV ("]),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path, text, told):
    folder = made(tmp_path, text)
    (line,) = faults(NAME, folder)
    assert line.startswith(f"{folder / 'items.csv'}{told[0]}")
    assert all(part in line for part in told)


def test_bytes_that_are_no_utf_8_are_placed(tmp_path):
    folder = made(tmp_path, "")
    (folder / "items.csv").write_bytes("path,pid,split\na.png,1,train\nä.png,1,train\n".encode("latin-1"))
    assert faults(NAME, folder) == [
        f"{folder / 'items.csv'}:3: byte 1 of the line is not valid UTF-8; save the file as UTF-8"
    ]


def test_the_index_is_looked_for_in_the_folder(tmp_path):
    folder = made(tmp_path / "own", HEAD)
    assert faults(NAME, folder, index="rows.csv")[0].startswith(f"{folder / 'rows.csv'}: no such file")
    assert faults(NAME, folder, index="items.xlsx") == [
        f"{folder / 'items.xlsx'}: unknown suffix '.xlsx'; allowed: .csv, .parquet, .pq"
    ]
    assert faults(NAME, folder, index="../rows.csv") == [f"../rows.csv: data.index lies outside {folder}"]
    assert faults(NAME, folder, index="/etc/passwd") == [f"/etc/passwd: data.index lies outside {folder}"]


WORDS = ("a.png", "1", "x", "train", "test", "rgb", ",", "\n", '"', "\0", "é", "query", ",,,", "m")


def test_queries_without_labels(tmp_path):
    text = f"{HEAD}a.png,1,test,gallery,,,,\nb.png,,test,query,,,,\n,,test,,,a man,,\n,-1,test,query,,a woman,,\n"
    items = opened(NAME, made(tmp_path, text, ("a.png", "b.png"))).items
    assert column(items, "pid") == [1, -1, -1, -1]
    assert column(items, "role") == ["rgb", "rgb", "caption", "caption"]
    assert column(items, "image_id") == [0, 1, -1, -1]


@given(st.binary(max_size=60) | st.lists(st.sampled_from(WORDS)).map(lambda words: (HEAD + "".join(words)).encode()))
def test_whatever_the_file_holds_no_other_error_than_a_line(content):
    with tempfile.TemporaryDirectory() as folder:
        made(Path(folder), "", ("a.png",))
        (Path(folder) / "items.csv").write_bytes(content)
        try:
            told = opened(NAME, folder).name
        except DataError as error:
            told = error.faults[0].what
        assert "\n" not in told


def test_parquet_that_is_none_and_parquet_without_pyarrow(tmp_path, monkeypatch):
    (tmp_path / "items.parquet").write_bytes(b"PAR1 not really")
    (told,) = faults(NAME, tmp_path, index="items.parquet")
    assert told.startswith(f"{tmp_path / 'items.parquet'}: no Parquet file (")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "fastparquet", None)
    (told,) = faults(NAME, tmp_path, index="items.parquet")
    assert "pip install pyarrow" in told


def test_rows_of_a_parquet_file_are_counted_from_0(tmp_path):
    rows = {"path": ["a.png", "b.png"], "pid": [1.0, None], "split": ["train", "train"], "caption": [None, 3]}
    made(tmp_path, "", ("a.png", "b.png"))
    pandas.DataFrame(rows).to_parquet(tmp_path / "items.parquet")
    where = f"{tmp_path / 'items.parquet'}: row 1"
    assert faults(NAME, tmp_path, index="items.parquet") == [
        f"{where}: pid is empty; only queries of test may do without",
        f"{where}: caption must be text, not the number 3",
    ]

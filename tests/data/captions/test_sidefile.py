"""The side file: what is written is read back, and every fault is told with its line."""

import hashlib
import json
import os
import stat
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reid_lab.data.captions import PartsRow, read_parts, write_parts
from reid_lab.errors import DataError

ROWS = [
    PartsRow("cam_a/1.jpg", 0, 'a man, "tall"', "a person wearing red,\nwhite"),
    PartsRow("cam_a/1.jpg", 1, None, "a person in a café’s apron"),
    PartsRow("cam_b/2 .jpg", 0, "a woman", None),
    PartsRow("cam_b/3.jpg", 7, None, None),
]
HEADER = "file_path,caption_index,id_caption,cloth_caption\n"


def faults(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        read_parts(path)
    return [str(fault).removeprefix(str(path)) for fault in caught.value.faults]


@pytest.mark.parametrize("name", ["parts.json", "parts.csv", "PARTS.CSV"])
def test_what_is_written_is_read(tmp_path, name):
    path = tmp_path / name
    digest = write_parts(path, ROWS)
    table = read_parts(path)
    assert table.digest == digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert [PartsRow(*key, *parts) for key, parts in table.parts.items()] == ROWS
    assert len(table) == 4
    assert table.lookup("cam_a/1.jpg", 1) == (None, "a person in a café’s apron")
    assert table.lookup("cam_a/1.jpg", 2) == (None, None)
    assert os.listdir(tmp_path) == [name]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(TEXTS.filter(lambda t: t and "\0" not in t), st.integers(0, 9), st.none() | TEXTS, st.none() | TEXTS),
        max_size=5,
        unique_by=lambda row: row[:2],
    ),
    st.sampled_from(["json", "csv"]),
)
def test_any_text_survives(tmp_path, rows, suffix):
    path = tmp_path / f"parts.{suffix}"
    write_parts(path, [PartsRow(*row) for row in rows], overwrite=True)
    kept = [(*row[:2], *(p if p and not p.isspace() else None for p in row[2:])) for row in rows]
    assert [(*key, *parts) for key, parts in read_parts(path).parts.items()] == kept


def test_null_empty_absent_and_blank_parts_are_missing(tmp_path):
    path = tmp_path / "p.json"
    parts = [{"id_caption": None, "cloth_caption": ""}, {"id_caption": "  "}, {}]
    path.write_text(json.dumps([{"file_path": "x", "caption_index": k, **p} for k, p in enumerate(parts)]))
    assert set(read_parts(path).parts.values()) == {(None, None)}


def test_columns_stand_in_any_order_and_a_byte_order_mark_is_read_over(tmp_path):
    path = tmp_path / "p.csv"
    path.write_bytes("\ufeffid_caption,cloth_caption,caption_index,file_path\r\na man,,0,x\r\n\r\n".encode())
    assert read_parts(path).parts == {("x", 0): ("a man", None)}


def test_rows_that_cite_no_caption(tmp_path):
    write_parts(tmp_path / "p.csv", ROWS)
    table = read_parts(tmp_path / "p.csv")
    known = [("cam_a/1.jpg", 0), ("cam_a/1.jpg", 1), ("cam_b/2 .jpg", 1)]
    assert table.unmatched(known) == (("cam_b/2 .jpg", 0), ("cam_b/3.jpg", 7))
    assert table.unmatched({row[:2] for row in ROWS}) == ()


def test_an_existing_file_is_kept_unless_asked(tmp_path):
    path = tmp_path / "p.json"
    path.write_text("mine")
    with pytest.raises(DataError, match=r"p\.json: exists already"):
        write_parts(path, ROWS)
    assert path.read_text() == "mine"
    write_parts(path, ROWS[:1], overwrite=True)
    assert len(read_parts(path)) == 1
    assert os.listdir(tmp_path) == ["p.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX modes")
def test_the_file_has_the_usual_mode(tmp_path):
    write_parts(tmp_path / "p.json", ROWS)
    (tmp_path / "other").touch()
    assert stat.S_IMODE((tmp_path / "p.json").stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)


def test_a_folder_that_is_not_there_and_rows_that_cannot_be_read_again(tmp_path):
    with pytest.raises(DataError, match="cannot be written"):
        write_parts(tmp_path / "no" / "p.json", ROWS)
    bad = [PartsRow("", 0, None, None), PartsRow("x", -1, None, None), PartsRow("y", 0, "\ud800", None), *ROWS, ROWS[0]]
    with pytest.raises(DataError) as caught:
        write_parts(tmp_path / "p.csv", bad)
    told = "\n".join(map(str, caught.value.faults))
    for word in (
        "row 0: file_path '' is no path",
        "row 1: caption_index must lie",
        "row 2: id_caption is not",
        "row 7:",
    ):
        assert word in told
    assert len(caught.value.faults) == 4
    assert os.listdir(tmp_path) == []


def test_suffixes_and_missing_files(tmp_path):
    with pytest.raises(DataError, match=r"unknown suffix '\.jsn'; allowed: \.csv, \.json; did you mean '\.json'"):
        read_parts(tmp_path / "p.jsn")
    with pytest.raises(DataError, match="no such file"):
        read_parts(tmp_path / "p.json")
    (tmp_path / "d.csv").mkdir()
    with pytest.raises(DataError, match="cannot be read"):
        read_parts(tmp_path / "d.csv")


def test_all_faults_of_a_json_file_are_told_with_their_lines(tmp_path):
    rows = [
        {"file_path": "a", "caption_index": 0, "id_captoin": "x"},
        {"file_path": "a", "caption_index": 1, "id_captoin": "x"},
        {"file_path": 3, "caption_index": "0"},
        {"caption_index": True, "cloth_caption": ["x"]},
        {"file_path": "b", "caption_index": -1},
        {"file_path": "c", "caption_index": 0, "id_caption": "\ud83d"},
        "row",
        {"file_path": "d", "caption_index": 0},
        {"file_path": "d", "caption_index": 0},
    ]
    text = "[\n" + ",\n".join(map(json.dumps, rows)) + "\n]"
    assert faults(tmp_path / "p.json", text) == [
        ":2: unknown column 'id_captoin'; allowed: caption_index, cloth_caption, file_path, id_caption; "
        "did you mean 'id_caption'?",
        ":4: file_path must be a string, not an integer",
        ":4: caption_index must be an integer, not '0'",
        ":5: no file_path",
        ":5: caption_index must be an integer, not true",
        ":5: cloth_caption must be a string or null, not a list",
        ":6: caption_index must lie between 0 and 2147483647, not -1",
        ":7: id_caption is not valid Unicode",
        ":8: an object is expected, not 'row'",
        ":10: caption 0 of d stands in line 9 already",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ": a list of objects is expected"),
        ("{}", ": a list of objects is expected"),
        ('[\n{"file_path": "a"', ":2:"),
        ('[\n{"file_path": "a", "caption_index": 0}\n{}]', ":3: no JSON (an object, or ]"),
        ('[\n{"file_path": "a", "caption_index": 0},\n]', ":3: no JSON (an object, or ]"),
        ("[\n]\n[]", ":3: no JSON (something follows the list)"),
        ("[" * 100_000, ":1: no JSON"),
        ('[{"file_path": "a", "file_path": "b", "caption_index": 0}]', ":1: file_path stands twice in the object"),
        (b'[\n{"file_path": "a\xff"}]', ":2: byte 17 of the line is not valid UTF-8"),
    ],
)
def test_json_that_is_none(tmp_path, text, told):
    (found,) = faults(tmp_path / "p.json", text)
    assert found.startswith(told), found


def test_all_faults_of_a_csv_file_are_told_with_their_lines(tmp_path):
    text = HEADER + 'a,0,"two\nlines",\nb,x,,\nc,-3,,\n,1,,\nd,1,,,\na,0,,\ne,1.0,,\n'
    assert faults(tmp_path / "p.csv", text) == [
        ":4: caption_index must be an integer, not 'x'",
        ":5: caption_index must lie between 0 and 2147483647, not -3",
        ":6: no file_path",
        ":7: 5 cells, but the header has 4",
        ":8: caption 0 of a stands in line 2 already",
        ":9: caption_index must be an integer, not '1.0'",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", [": is empty; a header is expected: file_path,caption_index,id_caption,cloth_caption"]),
        (
            "file_path,caption_idx,id_caption,id_caption\n",
            [
                ":1: unknown column 'caption_idx'; allowed: caption_index, cloth_caption, file_path, id_caption; "
                "did you mean 'caption_index'?",
                ":1: column id_caption stands there twice",
                ":1: no column caption_index",
                ":1: no column cloth_caption",
            ],
        ),
        (HEADER + 'a,0,"x', [":2: no CSV (unexpected end of data)"]),
    ],
)
def test_csv_that_is_none(tmp_path, text, told):
    assert faults(tmp_path / "p.csv", text) == told

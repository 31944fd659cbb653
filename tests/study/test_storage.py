"""Storages: what cannot be used is refused in one line, and nothing in it is lost."""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reid_lab.errors import UserError
from reid_lab.study import search as search_module
from reid_lab.study import storage as storage_module
from reid_lab.study.storage import Storage, StorageError, mend
from tests.study.searches import drive, opened

FILES = ("trials.db", "trials.journal")


def refused(open_it: Callable[[], object]) -> str:
    """The one line with which it is refused."""
    with pytest.raises(StorageError) as caught:
        open_it()
    said = str(caught.value)
    assert len(said.splitlines()) == 1
    return said


@contextmanager
def unprivileged() -> Iterator[None]:
    """Without the rights of root, who may write anywhere."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user may enter; pytest's own belong to one."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    folder.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("file", FILES)
def test_read_only(public: Path, file: str) -> None:
    told = drive(opened(public / file), 2)
    for path in public.iterdir():
        path.chmod(0o444)
    public.chmod(0o555)
    with unprivileged():
        said = refused(lambda: Storage.open(public / file))
    assert said.startswith(f"{public / file}: read-only: make the file and its folder writable")
    assert "nothing is lost" in said
    public.chmod(0o755)
    for path in public.iterdir():
        path.chmod(0o644)
    assert opened(public / file).told() == told


@pytest.mark.parametrize("file", FILES)
def test_becomes_read_only_while_it_works(public: Path, file: str) -> None:
    search = opened(public / file)
    drive(search, 1)
    told = len(search.told())
    os.chmod(public / f"{file}.lock", 0o444)
    with unprivileged():
        assert "read-only" in refused(search.ask)
    assert len(search.told()) == told


def test_locked_by_another_program(tmp_path: Path) -> None:
    path = tmp_path / "trials.db"
    storage = Storage.open(path, wait=0.2)
    search = opened(storage)
    told = drive(search, 1)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for work in (search.ask, lambda: Storage.open(path, wait=0.2)):
        said = refused(work)
        assert said.startswith(f"{path}: locked by another process for more than 0.2 s; nothing is lost")
    other.execute("ROLLBACK")
    assert search.ask().number == len(told)
    assert opened(path).told() == told


@pytest.mark.parametrize("file", FILES)
def test_locked_by_another_driver(tmp_path: Path, file: str) -> None:
    path = tmp_path / file
    search = opened(Storage.open(path, wait=0.2))
    with (tmp_path / f"{file}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "locked by" in refused(search.ask)
        assert "more than 0.1 s" in refused(lambda: Storage.open(path, wait=0.1))
    assert search.ask().number == 0


def test_a_journal_that_is_being_written(tmp_path: Path) -> None:
    path = tmp_path / "trials.journal"
    search = opened(Storage.open(path, wait=0.2))
    asked = search.ask()
    with (tmp_path / "trials.journal.append.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = refused(lambda: search.report(asked.number, 10, 0.5))
    assert said.startswith(f"{path}: locked by")
    search.report(asked.number, 10, 0.5)
    search.tell(asked.number, "complete", [0.5])
    assert search.told()[0].curve == {10: 0.5}


@pytest.mark.parametrize("tail", [b'{"op_code": 6, "trial', b"\0\0\0\0", b'{"op_code"\nxx', b'{"op_code": 8}'])
def test_a_torn_end_is_cut_off(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "trials.journal"
    told = drive(opened(path), 2)
    whole = path.read_bytes()
    with path.open("ab") as file:
        file.write(tail)
    search = opened(path)
    assert search.told() == told
    assert path.read_bytes() == whole
    assert search.ask().number == len(told)


@pytest.mark.parametrize("start", [b"", b"{", b'{"op_co', b"\0\0\0"])
def test_a_first_line_that_is_torn(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "trials.journal").write_bytes(start)
    assert opened(tmp_path / "trials.journal").ask().number == 0


def test_torn_further_up(tmp_path: Path) -> None:
    path = tmp_path / "trials.journal"
    drive(opened(path), 2)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[3] = lines[3][:20] + b"\n"
    path.write_bytes(b"".join(lines))
    said = refused(lambda: Storage.open(path))
    assert said == f"{path}:4: damaged record, or not a study's journal; restore a copy"
    assert path.read_bytes() == b"".join(lines)


def test_mending_says_how_much(tmp_path: Path) -> None:
    path = tmp_path / "x.journal"
    assert mend(path) == 0
    path.write_bytes(b'{"op_code":0}\n{"op')
    assert mend(path) == 4
    assert path.read_bytes() == b'{"op_code":0}\n'


def test_a_damaged_database(tmp_path: Path) -> None:
    path = tmp_path / "trials.db"
    storage = Storage.open(path)
    drive(opened(storage), 3)
    storage.close()
    data = bytearray(path.read_bytes())
    data[4096 : len(data)] = b"\xa5" * (len(data) - 4096)
    path.write_bytes(data)
    assert "damaged" in refused(lambda: opened(path).told())


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("a.db", b"weights: [1, 2]\n" * 9, "not an SQLite database; a storage is not overwritten"),
        ("a.journal", b"weights: [1, 2]\n", "not a study's journal; a storage is not overwritten"),
        ("a.journal", b'{"weights": 1}\n{"bias": 2}\n', "not a study's journal; a storage is not overwritten"),
        ("a.txt", b"", "unknown storage suffix '.txt'; allowed: .db, .journal"),
    ],
)
def test_not_a_storage(tmp_path: Path, file: str, content: bytes, says: str) -> None:
    path = tmp_path / file
    path.write_bytes(content)
    said = refused(lambda: Storage.open(path))
    assert said.startswith(f"{path}: {says}")
    assert path.read_bytes() == content


def test_a_database_of_something_else(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE experiments (id INTEGER)")
    connection.close()
    before = path.read_bytes()
    assert refused(lambda: Storage.open(path)) == f"{path}: a database of something else (no studies in it)"
    assert path.read_bytes() == before


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a.db").mkdir()
    assert refused(lambda: Storage.open(tmp_path / "a.db")) == f"{tmp_path / 'a.db'}: a folder, not a storage"


def test_without_a_suffix_the_default(tmp_path: Path) -> None:
    opened(tmp_path / "trials").ask()
    assert (tmp_path / "trials.journal").exists()
    assert [a.number for a in opened(tmp_path / "trials").unfinished()] == [0]


def test_a_file_named_by_a_url(tmp_path: Path) -> None:
    opened(Storage.open(f"sqlite:///{tmp_path / 'trials.db'}")).ask()
    assert [a.number for a in opened(tmp_path / "trials.db").unfinished()] == [0]


def test_nothing_is_made_to_be_looked_at(tmp_path: Path) -> None:
    said = refused(lambda: Storage.open(tmp_path / "absent.db", create=False))
    assert said == f"{tmp_path / 'absent.db'}: no such storage"
    assert not list(tmp_path.iterdir())


def test_sqlite_is_set_up_as_measured(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path / "a.db")
    assert storage._engine is not None
    with storage._engine.connect() as connection:
        values = [connection.exec_driver_sql(f"PRAGMA {p}").scalar() for p in ("journal_mode", "synchronous")]
    assert values == ["wal", 1]


def test_unknown_servers_and_urls() -> None:
    assert refused(lambda: Storage.open("mysql://u:secret@h/d")).startswith("unknown kind of storage 'mysql'; allowed:")
    said = refused(lambda: Storage.open("postgresql://u:secret@host:port/d"))
    assert "secret" not in said


def test_postgresql_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage_module.importlib.util, "find_spec", lambda name: None)
    said = refused(lambda: Storage.open("postgresql://me:secret@localhost/studies"))
    assert said == ("postgresql://me:***@localhost/studies: PostgreSQL needs psycopg: pip install 'reid-lab[postgres]'")


def test_postgresql_that_is_not_reached() -> None:
    pytest.importorskip("psycopg")
    said = refused(lambda: Storage.open("postgresql://me:secret@127.0.0.1:9/studies"))
    assert said.startswith("postgresql://me:***@127.0.0.1:9/studies: PostgreSQL is not reached: ")
    assert "secret" not in said


def test_a_dashboard_needs_its_package_and_a_storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_module.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'reid-lab\[dashboard\]'"):
        search_module.serve_dashboard(tmp_path / "a.db", 8080)
    monkeypatch.setattr(search_module.importlib.util, "find_spec", lambda name: object())
    with pytest.raises(StorageError, match="no such storage"):
        search_module.serve_dashboard(tmp_path / "a.db", 8080)

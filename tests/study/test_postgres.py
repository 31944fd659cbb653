"""Searches on a real PostgreSQL server, two drivers at once included."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reid_lab.study.search import Search, Storage
from reid_lab.study.storage import StorageError
from tests.study.searches import batch_of, drive, missing, opened, run

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
INITDB = shutil.which("initdb", path=os.pathsep.join([os.environ.get("PATH", ""), *map(str, BINARIES[-1:])]))

pytest.importorskip("psycopg")
pytestmark = pytest.mark.skipif(INITDB is None, reason="PostgreSQL is not installed")


class Server:
    """A server of its own, in a temporary folder, on a free port."""

    def __init__(self, folder: Path) -> None:
        assert INITDB is not None
        self.bin, self.data = Path(INITDB).parent, folder / "data"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.asked = 0
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
        (folder / "password").write_text("se:cret")
        (folder / "password").chmod(0o644)
        self.do("initdb", "-D", self.data, "-U", "me", "-A", "scram-sha-256", f"--pwfile={folder / 'password'}", "-N")
        self.folder = folder
        self.start()

    def do(self, program: str, *arguments: object) -> None:
        as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        command = [*as_user, str(self.bin / program), *map(str, arguments)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd="/")

    def start(self) -> None:
        settings = f"-p {self.port} -h 127.0.0.1 -k {self.folder} -c fsync=off"
        self.do("pg_ctl", "-D", self.data, "-o", settings, "-l", self.folder / "log", "-w", "start")

    def stop(self) -> None:
        self.do("pg_ctl", "-D", self.data, "-m", "immediate", "-w", "stop")

    def url(self, database: str = "postgres", password: str = "se%3Acret") -> str:
        return f"postgresql://me:{password}@127.0.0.1:{self.port}/{database}"

    def fresh(self) -> str:
        """The URL of a new, empty database."""
        import psycopg

        self.asked += 1
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE studies{self.asked}")
        return self.url(f"studies{self.asked}")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp())
    started = Server(folder)
    yield started
    started.stop()
    shutil.rmtree(folder)


@pytest.fixture
def url(server: Server) -> str:
    return server.fresh()


def search_at(url: str, **settings: object) -> Search:
    return opened(Storage.open(url, wait=10), **settings)


def test_equal_to_a_file(url: str, tmp_path: Path) -> None:
    on_file = drive(opened(tmp_path / "a.journal", batch=2), 12)
    for trials in (5, 12):
        told = drive(search_at(url, batch=2), trials)
    assert told == on_file


def test_errors(server: Server, url: str) -> None:
    search = search_at(url)
    told = drive(search, 2)
    for wrong, says in ((server.url("nowhere"), 'database "nowhere" does not exist'), (server.url(password="x"), "")):
        with pytest.raises(StorageError) as caught:
            Storage.open(wrong)
        said = str(caught.value)
        assert said.startswith(f"postgresql://me:***@127.0.0.1:{server.port}/")
        assert "PostgreSQL is not reached" in said
        assert says in said
        assert "cret" not in said
        assert len(said.splitlines()) == 1
    server.stop()
    try:
        for work in (search.ask, search.told, lambda: Storage.open(url, wait=2)):
            with pytest.raises(StorageError, match="PostgreSQL is not reached"):
                work()
    finally:
        server.start()
    assert search.told() == told  # the same object goes on once the server is back
    assert search.ask().number == len(told)


DRIVER = """
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
from reid_lab.study.search import Storage
from tests.study.searches import batch_of, missing, opened, run
search = opened(Storage.open({url!r}, wait=20), batch=2, grace={grace})
began = open({log!r}, "a", buffering=1)
def note(asked):
    began.write(f"{{asked.number}}\\n")
    time.sleep({pause})
{go}
"""
UNTIL = """
while (wanted := missing(search, {trials}) - len(search.foreign())) > 0:
    for asked in batch_of(search, min(wanted, 2)):
        run(search, asked, note)
print("done", flush=True)
"""
HOLD = """
print([search.ask().number for _ in range(2)], flush=True)
time.sleep(600)
"""


def process(url: str, folder: Path, name: str, go: str, grace: float = 60, pause: float = 0.0) -> subprocess.Popen[str]:
    given = {"root": str(Path(__file__).parents[2]), "url": url, "log": str(folder / name)}
    code = DRIVER.format(**given, go=go, grace=grace, pause=pause)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_two_drivers_share_a_study(url: str, tmp_path: Path) -> None:
    """They open a new database at once, never run a trial twice, and leave none running."""
    names = ("one", "two")
    drivers = [process(url, tmp_path, name, UNTIL.format(trials=14), pause=0.05) for name in names]
    assert [driver.wait(100) for driver in drivers] == [0, 0]
    search = search_at(url, batch=2)
    began = [int(line) for name in names for line in (tmp_path / name).read_text().split()]
    assert sorted(began) == [t.number for t in search.told()] == list(range(len(began)))
    assert all((tmp_path / name).read_text() for name in names)
    assert search.unfinished() == search.foreign() == []
    assert missing(search, 14) <= 0
    assert len({tuple(map(str, t.values.values())) for t in search.told()}) == len(began)


def test_a_dead_driver_is_succeeded(url: str, tmp_path: Path) -> None:
    """What a killed driver left is run by the other one, under its own number and with its values."""
    holder = process(url, tmp_path, "one", HOLD)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "[0, 1]\n"
    search = search_at(url, batch=2)
    assert (search.unfinished(), search.foreign()) == ([], [0, 1])
    holder.kill()
    holder.wait()
    assert [a.number for a in search.unfinished()] == [0, 1]
    while missing(search, 6) > 0:
        for asked in batch_of(search, 2):
            run(search, asked)
    assert [t.number for t in search.told()] == list(range(len(search.told())))


def test_a_driver_on_another_machine_lives_by_its_heartbeat(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from reid_lab.study import search as module

    holder = process(url, tmp_path, "one", HOLD, grace=2)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "[0, 1]\n"
    here = module.myself()
    monkeypatch.setattr(module, "myself", lambda: {**here, "host": "elsewhere", "space": "other"})
    search = search_at(url, batch=2, grace=2)
    time.sleep(3)  # longer than the grace: only its heartbeats keep it
    assert (search.unfinished(), search.foreign()) == ([], [0, 1])
    holder.kill()
    holder.wait()
    end = time.monotonic() + 20
    while search.foreign() and time.monotonic() < end:
        time.sleep(0.2)
    assert [a.number for a in search.unfinished()] == [0, 1]
    search.close()

"""Where a search keeps its trials: an SQLite file, a journal file or a PostgreSQL server.

SQLite runs with a write-ahead log and `BEGIN IMMEDIATE`, the journal with a lock that vanishes with
its process; both measured in docs/benchmarks.md. Files are for one machine, PostgreSQL is for
drivers on several. This file and `study/search.py` are the only door to Optuna.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.util
import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, final

from reid_lab.errors import Fault, UserError, unknown
from reid_lab.tracking.lock import FileLock

if TYPE_CHECKING:
    from optuna.storages import BaseStorage
    from sqlalchemy import Engine

Kind = Literal["sqlite", "journal", "postgresql"]
SUFFIXES: dict[str, Kind] = {
    ".db": "sqlite",
    ".sqlite": "sqlite",
    ".sqlite3": "sqlite",
    ".journal": "journal",
    ".jsonl": "journal",
    ".log": "journal",
}
DEFAULT = ".journal"  # by measurement, see docs/benchmarks.md
HINT = "nothing is lost; the same command goes on from here"


class StorageError(UserError):
    """A study's storage cannot be used: read-only, locked, damaged, not reached, or of something else."""


@final
class Lock:
    """A `FileLock` beside a storage that gives up after `wait` seconds; also what Optuna's journal asks for."""

    def __init__(self, storage: Path, wait: float, suffix: str = ".lock") -> None:
        self._lock = FileLock(storage.with_name(storage.name + suffix))
        self._storage, self._wait = storage, wait

    def acquire(self) -> bool:
        """Take the lock; raises `StorageError` naming the holder when it stays taken."""
        end, pause = time.monotonic() + self._wait, 0.001
        while not self._lock.acquire():
            if time.monotonic() > end:
                raise StorageError(
                    Fault(
                        f"locked by {self._lock.holder()} for more than {self._wait:g} s; {HINT}",
                        str(self._storage),
                    )
                )
            time.sleep(pause)
            pause = min(2 * pause, 0.05)
        return True

    def release(self) -> None:
        """Give the lock back."""
        self._lock.release()

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


@final
class Storage:
    """An open storage: `Storage.open("studies.db")`.

    optuna: Optuna's own object; call it inside `with storage.guard():`.
    place: the file, or the URL without its password; what messages call it.
    """

    def __init__(self, kind: Kind, place: str, optuna: BaseStorage, engine: Engine | None, wait: float) -> None:
        self.kind, self.place, self.optuna = kind, place, optuna
        self._engine, self._wait = engine, wait

    @classmethod
    def open(cls, where: str | Path, *, wait: float = 30.0, create: bool = True) -> Storage:
        """Open or create the storage at a path (.db, .journal, …; without suffix: a journal) or a postgresql URL.

        wait: seconds to wait for another process before giving up.
        create: whether a file that is not there is made.
        Raises `StorageError`.
        """
        text = str(where)
        if text.startswith("sqlite:///"):
            text = text.removeprefix("sqlite:///")
        _quiet()
        if "://" in text:
            return cls._server(text, wait)
        path = Path(text)
        if not path.suffix:
            path = path.with_suffix(DEFAULT)
            text = str(path)
        kind = SUFFIXES.get(path.suffix)
        if kind is None:
            raise StorageError(Fault(unknown("storage suffix", path.suffix, SUFFIXES), text))
        if not create and not path.exists():
            raise StorageError(Fault("no such storage", text))
        with _guarded(text, wait):
            if path.is_dir():
                raise StorageError(Fault("a folder, not a storage", text))
            path.parent.mkdir(parents=True, exist_ok=True)
            with Lock(path, wait):  # one process creates tables or mends a torn line
                return cls._sqlite(path, wait) if kind == "sqlite" else cls._journal(path, wait)

    @classmethod
    def _sqlite(cls, path: Path, wait: float) -> Storage:
        _check_sqlite(path)
        storage, engine = _rdb(f"sqlite:///{path}", {"connect_args": {"timeout": wait}})
        _immediate(engine, wait)
        with engine.begin():  # the first write: a read-only file or folder is found here
            pass
        return cls("sqlite", str(path), storage, engine, wait)

    @classmethod
    def _journal(cls, path: Path, wait: float) -> Storage:
        from optuna.storages.journal import JournalFileBackend, JournalStorage

        lock: Any = Lock(path, wait, ".append.lock")
        with lock:
            mend(path)
            with path.open("ab"):  # found read-only here, not after the first trial
                pass
        return cls("journal", str(path), JournalStorage(JournalFileBackend(str(path), lock_obj=lock)), None, wait)

    @classmethod
    def _server(cls, url: str, wait: float) -> Storage:
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        scheme, rest = url.split("://", 1)
        if scheme not in ("postgresql", "postgres", "postgresql+psycopg"):
            raise StorageError(unknown("kind of storage", scheme, ("postgresql", "sqlite", *SUFFIXES)))
        try:
            place = make_url(f"postgresql://{rest}").render_as_string(hide_password=True)
        except (ArgumentError, ValueError):
            raise StorageError("the PostgreSQL URL is not postgresql://USER:PASSWORD@HOST:PORT/DATABASE") from None
        if importlib.util.find_spec("psycopg") is None:
            raise StorageError(Fault("PostgreSQL needs psycopg: pip install 'reid-lab[postgres]'", place))
        connect = {"connect_timeout": max(2, round(min(wait, 10))), "options": "-c timezone=utc"}
        with _guarded(place, wait):
            made = _retry(
                lambda: _rdb(f"postgresql+psycopg://{rest}", {"connect_args": connect, "pool_pre_ping": True})
            )
        return cls("postgresql", place, *made, wait)

    def guard(self) -> contextlib.AbstractContextManager[None]:
        """Inside, what goes wrong with the storage is raised as a `StorageError` of one line."""
        return _guarded(self.place, self._wait)

    @contextlib.contextmanager
    def exclusive(self, name: str) -> Iterator[None]:
        """One process at a time numbers or claims trials of the study `name`."""
        if self.kind == "postgresql":
            with self._advisory(name):
                yield
            return
        with Lock(Path(self.place), self._wait):
            if self._engine is not None:  # wait for a foreign writer once, here; Optuna would try five times
                with self._engine.begin():
                    pass
            yield

    @contextlib.contextmanager
    def _advisory(self, name: str) -> Iterator[None]:
        from sqlalchemy import text

        assert self._engine is not None
        key = {"key": int.from_bytes(hashlib.sha256(f"reid-lab {name}".encode()).digest()[:8], "big", signed=True)}
        end = time.monotonic() + self._wait
        with self._engine.connect() as connection:
            while not connection.execute(text("SELECT pg_try_advisory_lock(:key)"), key).scalar():
                if time.monotonic() > end:
                    raise StorageError(
                        Fault(f"study '{name}' is locked by another process for more than {self._wait:g} s; {HINT}")
                    )
                time.sleep(0.02)
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:key)"), key)

    @property
    def shared(self) -> bool:
        """Whether drivers on other machines may use it at the same time."""
        return self.kind == "postgresql"

    def beat(self, trial_id: int) -> None:
        """Note that the owner of a running trial lives; nothing on files, which belong to one machine."""
        if self.shared:
            self.optuna.record_heartbeat(trial_id)  # type: ignore[attr-defined]

    def beating(self, trial_ids: Iterable[int], grace: float) -> set[int]:
        """Those of the trials whose owner has shown life within `grace` seconds, by the server's clock."""
        from sqlalchemy import text

        if not self.shared or self._engine is None:
            return set()
        query = text("SELECT trial_id FROM trial_heartbeats WHERE heartbeat > now()::timestamp - :s * interval '1 s'")
        with self._engine.connect() as connection:
            fresh = {row[0] for row in connection.execute(query, {"s": grace})}
        return fresh & set(trial_ids)

    def studies(self) -> dict[str, dict[str, Any]]:
        """The user attributes of every study by its name, ours and others'."""
        with self.guard():
            return {s.study_name: dict(s.user_attrs) for s in self.optuna.get_all_studies()}

    def close(self) -> None:
        """Close all connections; the next call opens new ones."""
        if self._engine is not None:
            self.optuna.remove_session()
            self._engine.dispose()


def _quiet() -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)


def _rdb(url: str, arguments: dict[str, Any]) -> tuple[BaseStorage, Engine]:
    import optuna

    storage = optuna.storages.RDBStorage(url, engine_kwargs=arguments)
    return optuna.storages.get_storage(storage), storage.engine


def _immediate(engine: Engine, wait: float) -> None:
    """Every transaction takes the write lock when it begins: no read that a later write contradicts."""
    from sqlalchemy import event

    def connect(connection: Any, _: object) -> None:
        connection.isolation_level = None  # sqlite3 begins no transactions of its own
        for pragma in ("journal_mode=WAL", "synchronous=NORMAL", f"busy_timeout={round(1000 * wait)}"):
            connection.execute(f"PRAGMA {pragma}")

    event.listen(engine, "connect", connect)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    engine.dispose()  # the connection that created the tables has neither


def _retry(make: Callable[[], tuple[BaseStorage, Engine]]) -> tuple[BaseStorage, Engine]:
    """Two processes that create the tables at once: the second one's clash is over when it looks again."""
    from sqlalchemy.exc import IntegrityError, ProgrammingError

    for _ in range(10):
        try:
            return make()
        except (IntegrityError, ProgrammingError):
            time.sleep(0.2)
    return make()


def _check_sqlite(path: Path) -> None:
    """Refuse a file that is no SQLite database, or another program's."""
    if not path.exists() or path.stat().st_size == 0:
        return
    with path.open("rb") as file:
        if file.read(16) != b"SQLite format 3\0":
            raise StorageError(Fault("not an SQLite database; a storage is not overwritten", str(path)))
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.OperationalError:
        return  # not readable this way; the real opening says why
    finally:
        connection.close()
    if tables and not tables & {"studies", "trials"}:
        raise StorageError(Fault("a database of something else (no studies in it)", str(path)))


def mend(path: Path) -> int:
    """Cut lines off a journal's end that a killed process left torn; the number of bytes removed.

    Raises `StorageError` when a line further up does not parse: then the file is no journal, or damaged.
    """
    if not path.exists():
        return 0
    good, torn = 0, 0
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            whole = line.endswith(b"\n") and _is_record(line)
            if whole and torn:
                raise StorageError(Fault("damaged record, or not a study's journal; restore a copy", f"{path}:{torn}"))
            if whole:
                good += len(line)
            else:
                torn = torn or number
    size = path.stat().st_size
    if size > good:
        if good == 0 and not _may_be_torn(path):
            raise StorageError(Fault("not a study's journal; a storage is not overwritten", str(path)))
        with path.open("r+b") as file:
            file.truncate(good)
    return size - good


def _is_record(line: bytes) -> bool:
    try:
        record = json.loads(line)
    except ValueError:
        return False
    return isinstance(record, dict) and "op_code" in record


def _may_be_torn(path: Path) -> bool:
    """Whether a file without one whole record begins like the first record of a journal."""
    start = b'{"op_code":'
    with path.open("rb") as file:
        head = file.read(len(start)).rstrip(b"\0")
    return start.startswith(head)


@contextlib.contextmanager
def _guarded(place: str, wait: float) -> Iterator[None]:
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, StorageInternalError, sqlite3.Error, OSError, json.JSONDecodeError) as error:
        raise StorageError(Fault(_reason(error, wait), place)) from error
    except ValueError as error:
        if "Invalid log format" not in str(error):
            raise
        raise StorageError(Fault("damaged journal; restore a copy", place)) from error


def _reason(error: BaseException, wait: float) -> str:
    """What is wrong, in a line: the words of the innermost cause, sorted into what a user can do."""
    cause = error
    while inner := getattr(cause, "orig", None) or cause.__cause__:
        cause = inner
    said = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
    if isinstance(cause, OSError) and not isinstance(cause, ConnectionError):
        if cause.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return f"read-only: make the file and its folder writable, or name another storage; {HINT}"
        return f"{cause.strerror or said}; {HINT}"
    if "locked" in said:
        return f"locked by another process for more than {wait:g} s; {HINT}"
    if "readonly" in said or "unable to open" in said:
        return f"read-only: make the file and its folder writable, or name another storage; {HINT}"
    if "malformed" in said or "not a database" in said or isinstance(cause, json.JSONDecodeError):
        return f"damaged ({said}); restore a copy"
    if "read-only transaction" in said:
        return f"read-only: the account may not write there; {HINT}"
    if type(cause).__module__.startswith("psycopg") and type(cause).__name__ in (
        "OperationalError",
        "ConnectionTimeout",
    ):
        return f"PostgreSQL is not reached: {said}; {HINT}"
    return f"{said}; {HINT}"

"""A run's append-only event log in JSON lines: the truth that MLflow mirrors.

The kinds of records, and what each holds, are named in `reid_lab.tracking.records`. An interrupted
run that redoes a step records it again, and the journal checks that it came out as before instead
of writing it twice.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal

from reid_lab.errors import Fault, RunError, unknown
from reid_lab.tracking.records import (
    EVENTS,
    KINDS,
    NUMBERS,
    RESULTS,
    Record,
    encode,
    marker,
    packed,
    parse,
    read,
    sha256,
    unpacked,
)

Status = Literal["finished", "failed", "interrupted", "pruned"]


class Journal:
    """The log of one run, open for appending; implements `contracts.Recorder`. One writer per file.

    Opening creates the file and its folder, or reads an existing one: its keys are indexed and a
    torn last line (the process was killed while writing) is cut off. Records are buffered in memory
    until `flush`. Safe to use from several threads.

    strict: a result that differs from the one already held raises `RunError` (a CPU computes the
        same bits again); otherwise the held one stays and one `note` named `diverged` says so.
    """

    def __init__(self, path: Path, *, strict: bool) -> None:
        self.path = path
        self.strict = strict
        self._lock = threading.RLock()
        self._held: dict[tuple[str, str], dict[int, int]] = {}  # (kind, name) -> step -> offset of the line
        self._pending: list[bytes] = []
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file: BinaryIO = path.open("a+b", buffering=0)
        try:
            self._written = self._end = self._repair()  # bytes in the file; the same with what is pending
            self._file.truncate(self._written)
            self._marker_file = os.open(marker(path), os.O_RDWR | os.O_CREAT, 0o644)
        except BaseException:
            self._file.close()
            raise
        self._durable = 0
        self._sync(self._written)

    def _repair(self) -> int:
        """Index the whole file; the offset after its last good line."""
        good = 0
        damaged: int | None = None
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if damaged is not None:
                    raise RunError(Fault("damaged record; restore the file from a copy", f"{self.path}:{damaged}"))
                try:
                    if not line.endswith(b"\n"):
                        raise ValueError("torn")
                    record = parse(line)
                except ValueError:
                    damaged = number
                    continue
                self._index(record.kind, record.name, record.step, good)
                good += len(line)
        return good

    def _index(self, kind: str, name: str, step: int, offset: int) -> None:
        if kind not in EVENTS or name == "diverged":
            self._held.setdefault((kind, name), {}).setdefault(step, offset)

    @property
    def durable_offset(self) -> int:
        """Bytes of the file that are known to be on disk."""
        return self._durable

    def record(self, kind: str, name: str, step: int, value: Any) -> None:
        """Append one record; a result whose key is held is compared instead.

        Raises `RunError` when it differs and the journal is strict; ValueError on an unknown kind,
        TypeError on a value that is not plain, or not a number where one is needed.
        """
        if kind not in KINDS:
            raise ValueError(unknown("kind of record", kind, KINDS))
        new = packed(value)
        if kind in NUMBERS and not isinstance(unpacked(new), (int, float)):
            raise TypeError(f"the value of {kind} '{name}' must be a number, not {type(value).__name__}")
        with self._lock:
            offset = self._held.get((kind, name), {}).get(step) if kind not in EVENTS else None
            if offset is None:
                self._append(kind, name, int(step), new)
            elif kind in RESULTS:
                self._compare(kind, name, step, new, offset)

    def _append(self, kind: str, name: str, step: int, value: Any) -> None:
        now = time.time_ns() // 1_000_000
        line = encode({"kind": kind, "name": name, "step": step, "value": value, "time": now}).encode() + b"\n"
        self._index(kind, name, step, self._end)
        self._pending.append(line)
        self._end += len(line)

    def _compare(self, kind: str, name: str, step: int, value: Any, offset: int) -> None:
        old, new = encode(packed(self._at(offset).value)), encode(value)
        if old == new:
            return
        if self.strict:
            raise RunError(
                Fault(
                    f"{kind} '{name}' at step {step} was {old} and is now {new}: "
                    "the same run must compute the same bits; start a fresh attempt",
                    str(self.path),
                )
            )
        if ("note", "diverged") not in self._held:
            self._append("note", "diverged", step, {"kind": kind, "name": name, "step": step, "old": old, "new": new})

    def _at(self, offset: int) -> Record:
        if offset >= self._written:
            self._write()
        with self.path.open("rb") as file:
            file.seek(offset)
            return parse(file.readline())

    def get(self, kind: str, name: str, step: int) -> Any:
        """The value held for a key of a result or measurement; None when there is none."""
        with self._lock:
            offset = self._held.get((kind, name), {}).get(step)
            return None if offset is None else self._at(offset).value

    def start(
        self,
        *,
        run_id: str,
        experiment: str,
        run_name: str,
        tags: Mapping[str, str] | None = None,
        description: str = "",
    ) -> None:
        """Note that a process begins, or resumes, the run; and make it durable.

        tags: provenance shown in MLflow, e.g. `mlflow.source.git.commit`; description: Markdown.
        """
        who = {"pid": os.getpid(), "host": socket.gethostname()}
        what = {"run_id": run_id, "experiment": experiment, "run_name": run_name, "description": description}
        self.record("start", "run", 0, {**who, **what, "tags": dict(tags or {})})
        self.flush()

    def stop(self, status: Status, reason: str = "", step: int = 0) -> None:
        """Note that the process leaves the run, and make it durable."""
        self.record("stop", "run", step, {"status": status, "reason": reason})
        self.flush()

    def artifact(self, name: str, path: Path, step: int = 0) -> None:
        """Note a finished file of the run folder, to be shown in MLflow at the path `name`.

        An image whose name begins with `images/` appears with a step slider. Raises ValueError when
        the file is not below the journal's folder.
        """
        inside = path.resolve().relative_to(self.path.parent.resolve())
        self.record("artifact", name, step, {"path": inside.as_posix(), "sha256": sha256(path)})

    def flush(self) -> None:
        """Write and fsync everything recorded so far; raises `RunError` when the disk does not take it."""
        with self._lock:
            self._write()
            end = self._written
        if end > self._durable:
            self._sync(end)

    def _write(self) -> None:
        """Hand the pending lines to the operating system; a failed write leaves the file as it was."""
        if not self._pending:
            return
        data = memoryview(b"".join(self._pending))
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            self._file.truncate(self._written)
            raise RunError(Fault(f"cannot write: {error.strerror}", str(self.path))) from error
        self._pending.clear()
        self._written = self._end

    def _sync(self, end: int) -> None:
        """Outside the lock: another thread may record while the disk works."""
        try:
            os.fsync(self._file.fileno())
            with self._lock:
                self._durable = max(self._durable, end)
                os.pwrite(self._marker_file, b"%020d" % self._durable, 0)
        except OSError as error:
            raise RunError(Fault(f"cannot write: {error.strerror}", str(self.path))) from error

    def records(self) -> Iterator[Record]:
        """Everything recorded so far, in order."""
        with self._lock:
            self._write()
            end = self._written
        return (record for record, _ in read(self.path, stop=end))

    def result_records(self) -> list[str]:
        """The results without their times, one canonical line per key, sorted: equal for equal runs."""
        lines = [encode([r.kind, r.name, r.step, packed(r.value)]) for r in self.records() if r.kind in RESULTS]
        return sorted(lines)

    def close(self) -> None:
        """Flush and close; closing again does nothing."""
        if self._file.closed:
            return
        try:
            self.flush()
        finally:
            self._file.close()
            os.close(self._marker_file)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

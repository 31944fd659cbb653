"""Which process works on a trial, and whether it still lives."""

from __future__ import annotations

import os
import socket
from functools import cache
from pathlib import Path
from typing import Any


def myself() -> dict[str, Any]:
    """This process, as it is noted with the trials that it runs."""
    return dict(_process(os.getpid()))


@cache
def _process(pid: int) -> dict[str, Any]:
    return {"host": socket.gethostname(), "space": _space(), "pid": pid, "start": started(pid)}


@cache
def _space() -> str:
    """What makes process numbers comparable: the boot of the kernel and the namespace of processes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def started(pid: int) -> int | None:
    """When the process began, in clock ticks since boot (0 where it cannot be known); None when there is none."""
    try:
        state, *others = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return None if state in "ZX" else int(others[18])  # a zombie is dead, though nobody has asked for it yet
    except OSError:
        if Path("/proc/self").exists():
            return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return 0

"""What goes wrong in a command is told in one line each and becomes an exit code; a bug keeps its traceback."""

from __future__ import annotations

import errno
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from typer.exceptions import TyperException

from reid_lab.cli.output import complain, note

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR, errno.EISDIR}


def guarded(command: Callable[[], Any]) -> int:
    """The exit code of the command: its own, 2 after a mistake of the user, 130 after Ctrl-C."""
    from reid_lab.errors import UserError

    try:
        with _advised():
            return int(command() or 0)
    except UserError as error:
        return complain([str(fault) for fault in error.faults], error.exit_code)
    except TyperException as error:
        return complain([_usage(error)], 2)
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        if error.errno in _FULL:
            what = f"the disk is full ({_place(error)}); make room, and the same command goes on"
        elif error.errno in _DENIED:
            what = f"{_place(error)}: {(error.strerror or str(error)).lower()}"
        else:
            raise
        return complain([what], 2)


@contextmanager
def _advised() -> Iterator[None]:
    """Advice is a line of the program, each once; other warnings are shown as they are."""
    from reid_lab.errors import Advice

    with warnings.catch_warnings():
        shown, told = warnings.showwarning, set[str]()

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if not issubclass(category, Advice):
                shown(message, category, filename, lineno, file, line)
            elif str(message) not in told:
                told.add(str(message))
                note(str(message))

        warnings.simplefilter("always", Advice)
        warnings.showwarning = show
        yield


def _place(error: OSError) -> str:
    return str(error.filename) if error.filename else "no file named"


def _usage(error: TyperException) -> str:
    """typer's message as one sentence of ours."""
    text = " ".join(error.format_message().split()).rstrip(".").replace(". Did you", "; did you")
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "reid-lab"
    return f"{text[:1].lower()}{text[1:]} (see {command} --help)"

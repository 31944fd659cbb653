"""Errors that a user can act on: where, what is wrong, what is allowed, the nearest name.

Everything that the user can cause is a `UserError`; the command line prints each as one line on
stderr and exits with its `exit_code`, without a traceback. Anything else that escapes is a bug.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One mistake: `where` is `file:line:column`, a path or empty; `what` is one line."""

    what: str
    where: str = ""

    def __str__(self) -> str:
        return f"{self.where}: {self.what}" if self.where else self.what


class UserError(Exception):
    """One or more faults that the user can mend; never a traceback, exit code 2."""

    exit_code = 2

    def __init__(self, *faults: Fault | str) -> None:
        self.faults = tuple(Fault(f) if isinstance(f, str) else f for f in faults)
        super().__init__("\n".join(map(str, self.faults)))


class SpecError(UserError):
    """A YAML file, an override or a combination of fields is wrong."""


class DataError(UserError):
    """A data set, an image or an annotation is wrong or missing."""


class CheckpointError(UserError):
    """A checkpoint or a weights file cannot be read, or does not fit."""


class RunError(UserError):
    """A run cannot go on (in use by another process, full disk, non-finite loss, changed result)."""


class InUse(RunError):
    """Another process works on the run."""


class NonFiniteLoss(RunError):
    """A loss became NaN or infinite; the last good checkpoint is kept."""


class Interrupted(UserError):
    """Ctrl-C: a checkpoint was written; the same command resumes."""

    exit_code = 130


class Advice(UserWarning):
    """Something is computed otherwise than a spec suggests; the command line tells it in one line."""


class Pruned(Exception):
    """Raised by a caller's `on_eval`: the run is not worth going on with. No mistake, hence no `UserError`.

    run_id: of the run that ended so; `experiment.run` fills it in.
    """

    run_id: str | None = None


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name that is most like `name`, or None when none is near."""
    by_case = {a.lower(): a for a in sorted(allowed)}
    found = difflib.get_close_matches(name.lower(), by_case, n=1, cutoff=0.6)
    return by_case[found[0]] if found else None


def unknown(kind: str, name: str, allowed: Iterable[str]) -> str:
    """The sentence for a name that is not known: `unknown KIND 'NAME'; allowed: …; did you mean …?`."""
    names = sorted(allowed)
    near = nearest(name, names)
    hint = f"; did you mean '{near}'?" if near else ""
    return f"unknown {kind} '{name}'; allowed: {', '.join(names)}{hint}"

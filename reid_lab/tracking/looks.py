"""Looks at test: a finished run's journal records each of them, before anything of it is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reid_lab.errors import Fault, RunError
from reid_lab.tracking.journal import Journal
from reid_lab.tracking.lock import RunLock
from reid_lab.tracking.runs import RunFolder


def record_look(folder: RunFolder, look: Mapping[str, Any]) -> None:
    """Writes a note `look_at_test` at the selected step; look: what is looked at, as plain data.

    Raises `RunError` where the journal cannot be written: a look that is not recorded is not taken.
    """
    step = int(folder.summary().get("best_step", 0))
    try:
        with RunLock(folder.path), Journal(folder.journal, strict=False) as journal:
            journal.record("note", "look_at_test", step, dict(look))
    except OSError as error:
        what = f"a look at test is recorded, and its journal cannot be written ({error.strerror or error})"
        raise RunError(Fault(what, folder.run_id)) from error

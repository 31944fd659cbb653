"""An architecture of one's own: a file, registered for as long as the process lasts."""

from __future__ import annotations

from pathlib import Path

from reid_lab.api.given import PathLike


def register(file: PathLike) -> str:
    """Registers the architecture that a file defines and returns its name, which specs then have as `model.name`.

    The file is a module with one `Architecture`, one `Spec` (a `ModelSpec` whose `name` has a default) and
    `RESULT_VERSION`. A file that is registered again is read again.

    Raises:
        UserError: no such file, a file that cannot be imported, what it lacks, the name of an architecture that is
            there already.
    """
    from reid_lab.architectures.own import register as enter

    return enter(Path(file))

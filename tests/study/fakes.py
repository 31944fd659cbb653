"""A base experiment and a study file in a folder, over the registries of tests/spec."""

from __future__ import annotations

from pathlib import Path

from reid_lab.errors import SpecError
from reid_lab.study.load import LoadedStudy, load_study
from tests.spec.fakes import GOOD, REGISTRIES

BASE = GOOD + "train: {stages: [{name: a, length: {epochs: 2}}]}\n"


def study(folder: Path, text: str, *sets: str, base: str = BASE) -> LoadedStudy:
    """The study of a text; `base: base.yaml` stands in front of it."""
    (folder / "base.yaml").write_text(base, encoding="utf-8")
    (folder / "study").mkdir(exist_ok=True)
    path = folder / "study" / "s.yaml"
    path.write_text("base: ../base.yaml\n" + text, encoding="utf-8")
    return load_study(path, sets, registries=REGISTRIES)


def lines(folder: Path, text: str, *sets: str, base: str = BASE) -> list[str]:
    """The mistakes of a text, the folder's path left out."""
    try:
        study(folder, text, *sets, base=base)
    except SpecError as error:
        return [str(fault).replace(f"{folder}/", "") for fault in error.faults]
    return []

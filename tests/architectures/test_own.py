"""A file that is registered is an architecture like any other."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from reid_lab.architectures import ARCHITECTURES
from reid_lab.architectures.own import register
from reid_lab.catalogue import load_spec, registries
from reid_lab.errors import UserError

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "notebooks" / "dual_encoder.py").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def forgotten():
    """What a test registers is gone afterwards."""
    before, modules = dict(ARCHITECTURES), set(sys.modules)
    yield
    ARCHITECTURES.clear()
    ARCHITECTURES.update(before)
    for name in set(sys.modules) - modules:
        if name.startswith("reid_lab_own_"):
            del sys.modules[name]


def written(folder: Path, text: str, name: str = "mine.py") -> Path:
    (folder / name).write_text(text)
    return folder / name


def test_a_registered_file_trains_like_any_other(lab):
    file = written(lab.folder, EXAMPLE)
    assert register(file) == "dual_encoder"
    entry = ARCHITECTURES["dual_encoder"]
    assert entry.title.startswith("Two towers, contrasted")
    assert entry.load().result_version == 1
    assert "dual_encoder" in registries().models
    done = lab.run(f"model={{name: dual_encoder, backbone: {lab.clip}}}", "train.length.epochs=1")
    assert (done.code, done.complaints) == (0, [])
    first = lab.only.run_id
    written(lab.folder, EXAMPLE.replace("RESULT_VERSION = 1", "RESULT_VERSION = 2"))
    assert register(file) == "dual_encoder"
    assert ARCHITECTURES["dual_encoder"].load().result_version == 2
    done = lab.run(f"model={{name: dual_encoder, backbone: {lab.clip}, id: null}}", "train.length.epochs=1")
    assert done.code == 0
    assert {folder.run_id for folder in lab.folders()} > {first}
    assert not any("loss/id" in line for line in lab.folders()[-1].journal.read_text().splitlines()) or first
    with pytest.raises(UserError, match=r"model\.idd: no such key; did you mean 'id'"):
        load_spec(lab.file, ["model={name: dual_encoder, idd: 1}"])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("class Spec(ModelSpec)", "class Specs(ModelSpec)"), "needs a class Spec below"),
        (("RESULT_VERSION = 1", "VERSION = 1"), "needs RESULT_VERSION"),
        (('] = "dual_encoder"', "]"), "Spec.name needs a default"),
        (("class DualEncoder(Architecture)", "class DualEncoder(torch.nn.Module)"), "has 0"),
        (('Literal["dual_encoder"] = "dual_encoder"', 'Literal["irra"] = "irra"'), "'irra' is the name of an"),
        (("import torch\n", "import torche\n"), "cannot be imported: ModuleNotFoundError: No module named 'torche'"),
    ],
)
def test_what_a_file_lacks_is_told_and_nothing_is_registered(tmp_path, change, told):
    assert change[0] in EXAMPLE
    before = dict(ARCHITECTURES)
    with pytest.raises(UserError, match=told):
        register(written(tmp_path, EXAMPLE.replace(*change)))
    assert before == ARCHITECTURES


def test_files_that_are_none(tmp_path):
    for file, told in (
        (tmp_path / "no.py", "no such file"),
        (written(tmp_path, "", "a-b.py"), "letters, digits"),
        (written(tmp_path, "", "a.txt"), "is no Python file"),
    ):
        with pytest.raises(UserError, match=told):
            register(file)

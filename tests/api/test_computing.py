"""`rl.run`, `rl.evaluate` and `rl.study` compute what the commands compute, and end no process."""

from __future__ import annotations

import pytest

import reid_lab as rl
from tests.lab import records

SHORT = {"train.length.epochs": 1}


def test_a_run_is_that_of_the_command(lab, capsys):
    result = rl.run(lab.file, seed=3, quiet=True, **SHORT)
    assert capsys.readouterr() == ("", "")
    assert result.folder == lab.only.path.relative_to(lab.folder)
    assert result.test == lab.only.summary()["test"]
    done = lab.run("seed=3", "train.length.epochs=1")
    assert done.out[0] == f"{result.run_id} is finished already (--fresh computes it again)"
    again = rl.run(lab.file, seed=3, train={"length": {"epochs": 1}})
    assert again.run_id == result.run_id
    assert "mAP" in capsys.readouterr().out
    assert rl.run(lab.file, seed=3, fresh=True, quiet=True, **SHORT).run_id == f"{result.run_id[:-2]}-2"

    looks = len(records(lab.folders()[0], "note"))
    metrics = rl.evaluate(result, quiet=True)
    assert metrics == result.test
    assert len(records(lab.folders()[0], "note")) == looks + 1
    with pytest.raises(rl.UserError, match="did you mean 'text_to_image'"):
        rl.evaluate(result.run_id, protocol="text_to_imgae")


def test_mistakes_are_told_before_anything_is_computed(lab):
    for call, told in (
        (lambda: rl.run("no.yaml"), "no.yaml: no such file"),
        (lambda: rl.run(lab.file, seed="x"), "seed: expected an integer >= 0"),
        (lambda: rl.run(lab.file, model={"mlmm": None}), "did you mean 'mlm'"),
        (lambda: rl.run(lab.file, fresh=True, resume=True), "give one of them"),
        (lambda: rl.run(lab.file, resume=True), "resume"),
        (lambda: rl.evaluate("nothing"), "no run 'nothing'"),
        (lambda: rl.load("nothing"), "no run 'nothing'"),
        (lambda: rl.study(lab.file, quiet=True), "base"),
        (lambda: rl.study("no.yaml"), "no.yaml: no such file"),
        (lambda: rl.study("no.yaml", seeds=[0, 0]), "expected different whole numbers"),
    ):
        with pytest.raises(rl.UserError, match=told):
            call()
    assert not lab.folders()


def test_a_study_is_computed_once_and_read(lab, capsys):
    file = lab.folder / "small.yaml"
    file.write_text(
        "base: tiny.yaml\npatch: {train.length.epochs: 1}\ndesign: leave_one_out\n"
        "components: {mlm: {off: {model.mlm: null}}}\nseeds: [0]\n"
    )
    study = rl.study(file, quiet=True)
    assert capsys.readouterr() == ("", "")
    assert study.cells.arm.tolist() == ["full", "no_mlm"]
    assert set(study.cells.run) == {folder.run_id for folder in lab.folders()}
    assert study.cells.run[0] == rl.run(lab.file, seed=0, quiet=True, **SHORT).run_id
    assert rl.study(file, quiet=True).cells.equals(study.cells)
    assert len(lab.folders()) == 2

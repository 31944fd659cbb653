"""`reid-lab replay`: the same run again, and each of its inputs when it is not what it was."""

import json
from pathlib import Path

import pytest

from tests.lab import records
from tests.test_experiment import tree

SHORT = ("train.length.epochs=1",)


def again(lab, *options):
    return lab.call("replay", lab.only.run_id, *options, "--runs", str(lab.runs))


def test_an_untouched_run_is_the_same_bit_for_bit(lab):
    lab.run(*SHORT)
    before = tree(lab.runs)
    done = again(lab)
    assert (done.code, done.complaints) == (0, [])
    assert done.out[-1].startswith(f"{lab.only.run_id}: the same results, bit for bit (")
    kinds = {part.split()[1]: int(part.split()[0]) for part in done.out[-1].partition("(")[2].rstrip(")").split(", ")}
    assert kinds["loss"] == len(records(lab.only, "loss"))
    assert {"val", "test", "final", "checkpoint", "lr"} <= kinds.keys()
    assert tree(lab.runs) == before

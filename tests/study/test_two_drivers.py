"""Two `reid-lab study` processes on one study in PostgreSQL."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.drills.studies import STUDY, TRIALS
from tests.lab import ROOT, records
from tests.study.test_postgres import INITDB, server, url  # noqa: F401 - fixtures

pytest.importorskip("psycopg")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(INITDB is None, reason="PostgreSQL is not installed")]


def test_they_share_the_trials_and_the_cells(lab, url):  # noqa: F811
    (lab.folder / "shared.yaml").write_text(STUDY.replace("PRUNER", "median").replace("[0]", "[0, 1]"))
    line = ["study", str(lab.folder / "shared.yaml"), "--set", f"storage={url}", "--runs", str(lab.runs)]
    drivers = [
        subprocess.Popen(
            [sys.executable, "-m", "reid_lab", *line],
            cwd=lab.folder,
            env={**lab.environment, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [driver.communicate(timeout=500) for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0], said
    assert f"full  {TRIALS}/{TRIALS}" in said[0][0] + said[1][0]
    trials = [folder for folder in lab.folders() if not folder.finished("test")]
    assert len(trials) == TRIALS
    assert all(folder.finished("fit") or folder.finished("pruned") for folder in trials)
    assert len(lab.folders()) == TRIALS + 2
    computed = {record.value["pid"] for folder in lab.folders() for record in records(folder, "start")}
    assert computed == {driver.pid for driver in drivers}
    assert all(len(records(folder, "start")) == 1 for folder in lab.folders())  # none was begun by both

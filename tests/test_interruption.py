"""Kill -9 at any moment: the same command goes on, and the run ends with the bits of an undisturbed one."""

from __future__ import annotations

import signal
from functools import partial

import pytest

from reid_lab.tracking.mlflow_store import Store, key
from reid_lab.tracking.records import NUMBERS, RESULTS
from reid_lab.tracking.runs import RunFolder, attempts
from tests import killing
from tests.lab import Lab, records, results, write_clip
from tests.tracking.conftest import assert_each_point_once, contents

KILLS = 20
SETS = ("checkpoint.every.steps=2", "train.length.epochs=3", "model.itc=0.5")
TRACKED = (*SETS, "tracking={uri: null, log_every: 1, images: 1}")


@pytest.fixture(scope="module")
def bench(tmp_path_factory, world_cache):
    """One laboratory for all kills: each is another attempt at the same run."""
    folder = tmp_path_factory.mktemp("bench")
    return Lab(folder, write_clip(folder / "clip"), world_cache)


class Undisturbed:
    """The first attempt, left in peace; what it took, and what it gave."""

    def __init__(self, lab: Lab, sets: tuple[str, ...]) -> None:
        self.lab, self.sets = lab, sets
        others = {folder.run_id for folder in lab.folders()}
        self.run(killing.nothing)  # draws the world
        (first,) = (folder for folder in lab.folders() if folder.run_id not in others)
        self.identity = first.run_id.rpartition("-")[0]
        self.run(killing.counted, "--fresh")
        self.folder = self.latest
        self.calls = int((lab.folder / "said.calls").read_text())
        self.outcome = self.of(self.folder)

    def run(self, prepare, *options: str, code: int = 0) -> None:
        said = self.lab.folder / "said"
        found = killing.command(self.lab.line(*self.sets, options=options), self.lab.cache, said, prepare)
        assert found == code, said.read_text()

    @property
    def latest(self) -> RunFolder:
        """The newest attempt."""
        return attempts(self.lab.runs, self.identity)[-1]

    @staticmethod
    def of(folder: RunFolder) -> dict[str, object]:
        """Everything that must be equal."""
        summary = folder.summary()
        return {
            "records": results(folder),
            "summary": {name: summary[name] for name in ("weights_sha256", "val", "test", "best_step", "last_step")},
            "files": {path.name: path.read_bytes() for path in folder.checkpoints.iterdir()},
            "results": (folder.results / "test.json").read_bytes(),
        }

    def killed_at(self, kind: str, values: tuple[float, ...]):
        """Begins an attempt, kills it at the moment, goes on with it; its folder."""
        self.run(partial(getattr(killing, kind), *values), "--fresh", code=-signal.SIGKILL)
        folder = self.latest
        assert not folder.finished("test")
        self.run(killing.nothing)
        assert self.latest == folder
        assert self.of(folder) == self.outcome, f"killed {kind} {values}"
        return folder


def test_two_kills(bench):
    undisturbed = Undisturbed(bench, (*SETS, "seed=1"))
    undisturbed.killed_at("at_call", (undisturbed.calls // 2,))
    undisturbed.killed_at("while_writing", (4, 0.5))


def test_killed_again_and_again(bench):
    """The process dies four times before it gets through, each time somewhat later."""
    undisturbed = Undisturbed(bench, (*SETS, "seed=2"))
    options = ("--fresh",)
    for share in (0.3, 0.25, 0.2, 0.05):
        moment = partial(killing.at_call, int(share * undisturbed.calls))
        undisturbed.run(moment, *options, code=-signal.SIGKILL)
        options = ()
    undisturbed.run(killing.nothing)
    folder = undisturbed.latest
    assert undisturbed.of(folder) == undisturbed.outcome
    assert len(records(folder, "start")) == 5


@pytest.fixture(scope="module")
def tracked(bench):
    return Undisturbed(bench, TRACKED)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(KILLS))
def test_killed_at_a_random_moment(bench, tracked, number):
    files = len(records(tracked.folder, "checkpoint"))
    kind, values = killing.moments(KILLS, tracked.calls, files, seed=20)[number]
    folder = tracked.killed_at(kind, values)
    held = contents(Store.of(bench.runs), folder.run_id)
    assert held["status"] == "FINISHED"
    assert_each_point_once(held["points"])
    series = [r for r in records(folder) if r.kind in NUMBERS and r.kind in RESULTS]
    expected = {(key(r.name), r.step): float(r.value) for r in series}
    points = {(name, step): value for name, step, value, _ in held["points"]}
    assert {at: points.get(at) for at in expected} == expected

"""A study under kill -9 of its driver and its workers ends with the bits of a study that was left in peace."""

from __future__ import annotations

import signal

import psutil
import pytest

from tests.drills.kills import Plan, drawn, wait_for
from tests.drills.studies import TOKEN, TRIALS, Study, states
from tests.lab import Lab, write_clip

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bench(tmp_path_factory, world_cache):
    """One laboratory; a study is driven in several folders of runs."""
    folder = tmp_path_factory.mktemp("drill")
    return Lab(folder, write_clip(folder / "clip"), world_cache)


def assert_whole(outcome):
    found = states(outcome)
    assert len(found) == TRIALS
    assert set(found) == {"COMPLETE", "PRUNED"}  # none is running, none failed
    assert len(outcome["runs"]) == TRIALS + 1  # and the cell: no trial was computed under two names


def survivors(folder):
    """Processes of the drill that still live."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(TOKEN) == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.cmdline()[:4])
        except psutil.Error:
            continue
    return found


@pytest.mark.parametrize("storage", ["trials.journal", "trials.db"])
def test_one_process_killed_again_and_again(bench, storage):
    study = Study(bench, "hyperband")
    if not (bench.folder / "peace").exists():
        assert study.drive("peace") == 0
    name = f"killed_{storage.rpartition('.')[2]}"
    options = ("--set", f"storage={bench.folder / name}_{storage}")
    kills = drawn(36, 7, ("clock", "checkpoint", "storage", "call"), calls=25_000, seconds=1.5)
    plan = Plan.of(bench.folder / f"{name}_plan", kills)
    ended = []
    while not ended or ended[-1] != 0:
        ended.append(study.drive(name, *options, plan=plan))
        plan.give_back()
    hits = plan.kinds()
    print(f"{storage}: {sum(hits.values())} kills {dict(hits)}")
    assert ended.count(-signal.SIGKILL) == sum(hits.values()) >= 30
    assert min(hits[kind] for kind in ("clock", "checkpoint", "storage", "call")) >= 3
    outcome = study.outcome(name, f"{bench.folder / name}_{storage}")
    assert_whole(outcome)
    assert outcome == study.outcome("peace")


def test_driver_and_workers_on_ray_killed(bench):
    pytest.importorskip("ray")
    study = Study(bench, "median")
    assert study.drive("inline", "--batch", "2") == 0
    peace = study.outcome("inline")
    assert_whole(peace)
    workers = Plan.of(bench.folder / "workers", drawn(28, 8, ("clock", "checkpoint", "call"), 20_000, 2.5))
    drivers = Plan.of(bench.folder / "drivers", drawn(5, 9, ("storage", "clock"), 1, 10.0))
    ended = []
    while not ended or ended[-1] != 0:
        ended.append(study.drive("ray", "--workers", "2", plan=drivers, workers=True))
        for plan in (workers, drivers):
            plan.give_back()
    hits = workers.kinds() + drivers.kinds()
    print(f"ray: workers {dict(workers.kinds())}, drivers {dict(drivers.kinds())}")
    assert ended.count(-signal.SIGKILL) == drivers.hits() >= 4
    assert sum(hits.values()) >= 30
    assert workers.kinds()["checkpoint"] >= 3
    assert drivers.kinds()["storage"] >= 3
    outcome = study.outcome("ray")
    assert_whole(outcome)
    assert outcome == peace
    assert wait_for(lambda: not survivors(bench.folder), 30), survivors(bench.folder)

"""Searches: what is tried depends on the study's key, the seed and earlier batches, on nothing else."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reid_lab.study.search import Asked, Search, SearchError, Storage, trial_seed
from reid_lab.study.space import Dimension, Space
from tests.study.searches import EVALUATIONS, STEPS, batch_of, curve, drive, opened, quality, run

FILES = ("trials.db", "trials.journal")
MEMORY = Path("/dev/shm")


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """In memory where there is such a place: a search makes its writes durable one by one."""
    if not MEMORY.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        yield Path(folder)


@pytest.mark.parametrize("file", FILES)
def test_a_search_finds_good_values_and_prunes(tmp_path: Path, file: str) -> None:
    search = opened(tmp_path / file)
    told = drive(search, 24)
    states = [t.state for t in told]
    assert states.count("complete") + states.count("pruned") == 24
    assert states.count("pruned") >= 5
    assert states.count("failed") == sum(trial_seed(1, "0123", n) % 7 == 0 for n in range(len(told))) > 0
    best = search.best()
    assert best is not None
    assert best.scores == max(t.scores for t in told if t.state == "complete")
    assert quality(best.values) > sorted(quality(t.values) for t in told)[12]
    assert search.front() == [best]


def test_the_same_on_every_storage(tmp_path: Path) -> None:
    database, journal = (drive(opened(tmp_path / file), 14) for file in FILES)
    assert database == journal


@pytest.mark.parametrize(
    ("file", "pruner", "batch"),
    [("b.db", "hyperband", 1), ("b.journal", "hyperband", 3), ("b.journal", "median", 2), ("b.journal", "none", 1)],
)
def test_reopened_after_every_trial_equals_uninterrupted(tmp_path: Path, file: str, pruner: str, batch: int) -> None:
    straight = drive(opened(tmp_path / "a.journal", pruner=pruner, batch=batch), 15)
    storage = Storage.open(tmp_path / file)
    for _ in range(100):
        search = opened(storage, pruner=pruner, batch=batch)  # knows nothing but what is stored
        asked = batch_of(search, 15 - sum(t.state != "failed" for t in search.told()))
        if not asked:
            break
        run(search, asked[0])
    assert search.told() == straight


def test_told_in_any_order(tmp_path: Path) -> None:
    straight = drive(opened(tmp_path / "a.journal", batch=4), 16)
    for seed in range(3):
        assert drive(opened(tmp_path / f"{seed}.journal", batch=4), 16, random.Random(seed)) == straight


def test_reports_of_a_batch_may_interleave(tmp_path: Path) -> None:
    straight = drive(opened(tmp_path / "a.journal", batch=3), 12)
    search = opened(tmp_path / "b.journal", batch=3)
    while sum(t.state != "failed" for t in search.told()) < 12:
        alive = {a.number: (a, curve(a)) for a in batch_of(search, 3)}
        for number, (asked, _) in list(alive.items()):
            if asked.seed % 7 == 0:
                search.tell(number, "failed", note={"cause": "a seed that fails"})
                del alive[number]
        for i in range(EVALUATIONS):
            for number, (_, reports) in list(alive.items()):
                if search.report(number, *reports[i]):
                    search.tell(number, "pruned", note={"run": f"run-{number}"})
                    del alive[number]
        for number, (_, reports) in alive.items():
            search.tell(number, "complete", [reports[-1][1]], {"run": f"run-{number}"})
    told = search.told()
    assert told[: len(straight)] == straight


def test_a_batch_size_is_part_of_the_result(tmp_path: Path) -> None:
    one = drive(opened(tmp_path / "a.journal", batch=1), 20)
    four = drive(opened(tmp_path / "b.journal", batch=4), 20)
    assert [t.values for t in one] != [t.values for t in four]


class Dead(Exception):
    pass


class Mortal:
    """Optuna's storage for a process that dies before its n-th write."""

    WRITES = ("create_", "set_", "delete_", "record_")

    def __init__(self, storage: Any, last: int) -> None:
        self.storage, self.left = storage, last

    def __getattr__(self, name: str) -> Any:
        inner = getattr(self.storage, name)
        if not name.startswith(self.WRITES):
            return inner

        def write(*args: Any, **kwargs: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise Dead
            return inner(*args, **kwargs)

        return write


def survives(folder: Path, suffix: str, first: int, stride: int, **settings: Any) -> None:
    """Kill a search of 12 trials before every `stride`-th write and go on: it ends like an undisturbed one."""
    undisturbed = drive(opened(folder / f"a{suffix}", **settings), 12)
    counted = Storage.open(folder / f"b{suffix}")
    counted.optuna = writes = Mortal(counted.optuna, 10**9)  # type: ignore[assignment]
    drive(opened(counted, **settings), 12)
    total = 10**9 - writes.left
    assert total > 80
    for last in range(first, total, stride):
        path = folder / f"{last}{suffix}"
        storage = Storage.open(path)
        storage.optuna = Mortal(storage.optuna, last)  # type: ignore[assignment]
        with pytest.raises(Dead):
            drive(opened(storage, **settings), 12)
        storage.close()
        assert drive(opened(path, **settings), 12) == undisturbed, f"killed before write {last}"


@pytest.mark.parametrize(
    ("first", "settings"), [(0, {"batch": 1}), (1, {"batch": 3}), (2, {"pruner": "median", "batch": 2})]
)
def test_killed_before_a_write(tmp_path: Path, first: int, settings: dict[str, Any]) -> None:
    survives(tmp_path, ".journal", first, 8, **settings)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{"batch": 1}, {"batch": 3}, {"pruner": "median", "batch": 2}])
@pytest.mark.parametrize("suffix", [".journal", ".db"])
def test_killed_before_every_write(tmp_path: Path, suffix: str, settings: dict[str, Any]) -> None:
    survives(tmp_path, suffix, 0, 1, **settings)


def test_killed_again_and_again(tmp_path: Path) -> None:
    undisturbed = drive(opened(tmp_path / "a.journal", batch=2), 10)
    path, deaths = tmp_path / "b.journal", 0
    while True:
        storage = Storage.open(path)
        storage.optuna = Mortal(storage.optuna, 3)  # type: ignore[assignment]
        try:
            told = drive(opened(storage, batch=2), 10)
            break
        except Dead:
            deaths += 1
    assert deaths > 20
    assert told == undisturbed


def test_values_that_were_never_written_are_completed(tmp_path: Path) -> None:
    straight = opened(tmp_path / "a.journal")
    drive(straight, 12)
    wanted = straight.ask()
    search = opened(tmp_path / "b.journal")
    drive(search, 12)
    storage = search._storage.optuna
    trial = storage.create_new_trial(search._study)  # killed right after this
    assert opened(tmp_path / "b.journal").unfinished() == [wanted]
    params = storage.get_trial(trial).params
    assert set(params) == set(wanted.values)
    assert opened(tmp_path / "b.journal").unfinished() == [wanted]


def test_values_that_were_partly_written_are_completed(tmp_path: Path) -> None:
    straight = opened(tmp_path / "a.journal")
    wanted = [straight.ask() for _ in range(3)][2]
    search = opened(tmp_path / "b.journal")
    search.ask(), search.ask()
    storage = search._storage.optuna
    trial = storage.create_new_trial(search._study)
    knob = search._space[0]
    storage.set_trial_param(trial, knob.name, math.log(1.0), knob.distribution)
    assert search.unfinished()[2] == wanted


def test_telling_twice_changes_nothing(tmp_path: Path) -> None:
    search = opened(tmp_path / "a.journal")
    asked = search.ask()
    search.tell(asked.number, "complete", [0.5], {"run": "first"})
    before = search.told()
    search.tell(asked.number, "complete", [0.5], {"run": "first"})
    search.tell(asked.number, "failed")
    assert search.told() == before
    assert search.report(asked.number, 10, 0.1)
    assert opened(tmp_path / "a.journal").told() == before


def test_a_report_may_be_repeated(tmp_path: Path) -> None:
    search = opened(tmp_path / "a.journal")
    drive(search, 6)
    asked = search.ask()
    values = [(step, -50.0) for step in STEPS]
    answers = [search.report(asked.number, step, value) for step, value in values[:4]]
    assert any(answers)
    assert [search.report(asked.number, step, value) for step, value in values[:4]] == answers
    again = opened(tmp_path / "a.journal")
    assert [a.number for a in again.unfinished()] == [asked.number]
    assert [again.report(asked.number, step, value) for step, value in values[:4]] == answers


def test_the_last_report_never_prunes(tmp_path: Path) -> None:
    search = opened(tmp_path / "a.journal", evaluations=1)
    for score in (1.0, 0.0, -1.0):
        assert not search.report(search.ask().number, 10, score)


def test_not_a_number_is_a_failure(tmp_path: Path) -> None:
    search = opened(tmp_path / "a.journal")
    asked = search.ask()
    search.report(asked.number, 10, math.nan)
    search.report(asked.number, 10, math.nan)
    search.tell(asked.number, "complete", [math.nan])
    (told,) = search.told()
    assert (told.state, told.scores, told.note["cause"]) == ("failed", (), "the objective is not a number")
    assert search.best() is None
    assert search.ask().number == 1


def test_told_gives_back_what_came_in(tmp_path: Path) -> None:
    search = opened(tmp_path / "a.journal", pruner="none")
    asked = search.ask()
    search.report(asked.number, 20, 0.25)
    search.report(asked.number, 40, 0.1)
    search.tell(asked.number, "pruned", note={"run": "x-1", "cause": "ünpromising"})
    (told,) = opened(tmp_path / "a.journal", pruner="none").told()
    assert told.values == asked.values
    assert (told.state, told.scores, told.curve) == ("pruned", (0.1,), {20: 0.25, 40: 0.1})
    assert told.note == {"run": "x-1", "cause": "ünpromising"}


def test_seeds_are_disjoint_from_reported_ones_and_stateless() -> None:
    seeds = [trial_seed(0, "key", n) for n in range(2000)]
    assert all(10**6 <= seed < 2**31 for seed in seeds)
    assert len(set(seeds)) == 2000
    assert trial_seed(1, "key", 0) != seeds[0] != trial_seed(0, "yek", 0)


def test_a_knob_exists_under_its_condition_only(tmp_path: Path) -> None:
    told = drive(opened(tmp_path / "a.journal"), 25)
    assert {("rank" in t.values) for t in told} == {True, False}
    for t in told:
        assert ("rank" in t.values) == (t.values["adapter"] == {"kind": "lora"})
        assert 1 <= t.values.get("rank", 1) <= 16


@pytest.mark.parametrize(
    "values",
    [("a", "b"), (1, 2.5), (True, False), (True, 1), (None, "none"), ((1, 2), (2, 1)), ({"a": (1,)}, {"a": (2,)})],
)
def test_choices_come_back_as_they_were(tmp_path: Path, values: tuple[Any, ...]) -> None:
    space = Space((Dimension("x", "choice", values=values),))
    search = Search(Storage.open(tmp_path / "a.journal"), "arm", {"key": "k"}, space, sampler="random")
    asked = [search.ask().values["x"] for _ in range(16)]
    assert {repr(v) for v in asked} == {repr(v) for v in values}
    again = Search(Storage.open(tmp_path / "a.journal"), "arm", {"key": "k"}, space, sampler="random")
    assert [repr(a.values["x"]) for a in again.unfinished()] == [repr(v) for v in asked]


def test_several_objectives_have_a_front(tmp_path: Path) -> None:
    search = opened(tmp_path / "a.journal", pruner="none", directions=("maximize", "minimize"))
    scores = [(0.5, 10.0), (0.6, 20.0), (0.4, 20.0), (0.6, 20.0), (0.7, 15.0)]
    for pair in scores:
        asked = search.ask()
        assert not search.report(asked.number, 10, pair[0])
        search.tell(asked.number, "complete", pair)
    assert [t.scores for t in search.front()] == [(0.5, 10.0), (0.7, 15.0)]
    with pytest.raises(ValueError, match="front"):
        search.best()
    with pytest.raises(ValueError, match="2 objectives"):
        search.tell(search.ask().number, "complete", [1.0])


def test_several_objectives_resume(tmp_path: Path) -> None:
    def go(search: Search, until: int) -> None:
        while len(search.told()) < until:
            for asked in search.unfinished() or [search.ask()]:
                search.tell(asked.number, "complete", (quality(asked.values), float(asked.values["layers"])))

    settings: dict[str, Any] = {"pruner": "none", "directions": ("maximize", "minimize")}
    search = opened(tmp_path / "a.journal", **settings)
    go(search, 18)
    for until in range(3, 19, 3):
        again = opened(tmp_path / "b.journal", **settings)
        go(again, until)
    assert again.told() == search.told()


def test_a_new_arm_does_not_see_the_old_one(tmp_path: Path) -> None:
    storage = Storage.open(tmp_path / "a.journal")
    first, second = opened(storage, "one"), opened(storage, "two", about={"key": "other"})
    drive(first, 3)
    assert second.told() == []
    assert second.ask().seed != trial_seed(1, first.key, 0)
    assert set(storage.studies()) == {"one", "two"}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"sampler": "tep"}, r"unknown sampler 'tep'; allowed: random, tpe; did you mean 'tpe'\?"),
        ({"pruner": "hyper"}, "unknown pruner 'hyper'; allowed: hyperband, median, none"),
        ({"directions": ("up",)}, "unknown direction 'up'; allowed: maximize, minimize"),
        ({"directions": ("maximize", "minimize")}, "pruner 'hyperband' needs a single objective, here are 2"),
        ({"directions": ()}, "a search needs an objective"),
        ({"batch": 0}, "at least 1"),
    ],
)
def test_refused(tmp_path: Path, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(SearchError, match=says):
        opened(tmp_path / "a.journal", **settings)


@pytest.mark.parametrize("file", FILES)
def test_of_another_study(tmp_path: Path, file: str) -> None:
    told = len(drive(opened(tmp_path / file, about={"key": "a", "space": "x", "objective": "mAP"}), 2))
    with pytest.raises(SearchError, match="'arm' is of another search: it differs in key, space; use another name"):
        opened(tmp_path / file, about={"key": "b", "objective": "mAP"})
    with pytest.raises(SearchError, match="it differs in directions"):
        opened(tmp_path / file, about={"key": "a", "space": "x", "objective": "mAP"}, directions=("minimize",))
    assert len(opened(tmp_path / file, about={"key": "a", "space": "x", "objective": "mAP"}).told()) == told


def test_of_another_program(tmp_path: Path) -> None:
    import optuna

    study = optuna.create_study(storage=f"sqlite:///{tmp_path / 'a.db'}", study_name="arm", direction="maximize")
    study.tell(study.ask(), 1.0)
    with pytest.raises(SearchError, match="'arm' was not made by reid-lab"):
        opened(tmp_path / "a.db")


ASK = """
import sys
from pathlib import Path
sys.path.insert(0, {root!r})
from tests.study.searches import opened
search = opened(Path({path!r}))
print(search.ask().number, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def owner(tmp_path: Path) -> Any:
    """Another process that runs a trial of a search."""
    code = ASK.format(root=str(Path(__file__).parents[2]), path=str(tmp_path / "a.journal"))
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as it:
        assert it.stdout is not None
        assert it.stdout.readline() == "0\n"
        yield it
        it.kill()


def test_a_trial_of_a_living_process_is_left_alone(tmp_path: Path, owner: subprocess.Popen[str]) -> None:
    search = opened(tmp_path / "a.journal")
    assert search.unfinished() == []
    assert search.foreign() == [0]
    assert search.ask().number == 1
    owner.kill()
    owner.wait()
    assert [a.number for a in search.unfinished()] == [0, 1]
    assert search.foreign() == []


def test_a_closed_search_shows_no_more_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beats: list[int] = []
    monkeypatch.setattr("reid_lab.study.search.BEAT", 0.01)
    monkeypatch.setattr(Storage, "shared", True)
    monkeypatch.setattr(Storage, "beat", lambda _, trial: beats.append(trial))
    monkeypatch.setattr(Storage, "beating", lambda *_: set())
    search = opened(tmp_path / "a.journal")
    search.ask()
    pulse = search._pulse
    assert pulse is not None
    while len(beats) < 3:
        time.sleep(0.01)
    search.close()
    pulse.join(5)
    assert not pulse.is_alive()
    assert [asked.number for asked in search.unfinished()] == [0]  # it goes on: it beats again
    assert search._pulse is not None
    assert search._pulse.is_alive()
    search.close()


@pytest.mark.parametrize("code", ["import reid_lab.study.search", "import reid_lab.study.storage"])
def test_optuna_is_imported_when_needed(code: str) -> None:
    check = f"{code}\nimport sys\nassert not {{'optuna', 'sqlalchemy', 'torch'}} & set(sys.modules), sys.modules.keys()"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_threads_share_a_search(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    straight = drive(opened(tmp_path / "a.journal", batch=4), 12)
    search = opened(tmp_path / "b.journal", batch=4)
    trial: Callable[[Asked], None] = lambda asked: run(search, asked)  # noqa: E731
    with ThreadPoolExecutor(4) as pool:
        while (wanted := 12 - sum(t.state != "failed" for t in search.told())) > 0:
            list(pool.map(trial, batch_of(search, wanted)))
    assert search.told() == straight

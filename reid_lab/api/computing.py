"""Functions that compute: a run, a study, another look at test, a run once more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reid_lab.api.given import PathLike, folder, name_of, overrides, teller
from reid_lab.api.reading import Study
from reid_lab.errors import Interrupted, UserError

if TYPE_CHECKING:
    from rich.console import Console

    from reid_lab.contracts import RunResult
    from reid_lab.reproducing.replay import Replay
    from reid_lab.study.view import View


def run(
    spec: PathLike,
    *,
    seed: int | None = None,
    device: str | None = None,
    fresh: bool = False,
    resume: bool = False,
    quiet: bool = False,
    sets: Sequence[str] = (),
    runs: PathLike | None = None,
    **values: Any,
) -> RunResult:
    """Trains and tests an experiment, goes on with it, or finds it finished: `reid-lab run`.

    Args:
        spec: an experiment file.
        seed, device: overrides like any other.
        fresh: begins another attempt at a run that is there.
        resume: only goes on with a run.
        quiet: prints nothing.
        sets: overrides as the command line has them, `a.b=VALUE`.
        runs: the folder of runs; None: REID_LAB_RUNS, else `runs` here.
        **values: overrides as Python values: `train={"length": {"steps": 100}}`, or `**{"model.mlm.depth": 1}`.

    Returns:
        Metrics in percent of val (at the selected step) and test, the run's id and folder, what it cost.

    Raises:
        UserError: with every mistake, before anything is computed.
    """
    from reid_lab.catalogue import load_spec

    if resume and fresh:
        raise UserError("resume goes on with a run and fresh begins another; give one of them")
    loaded = load_spec(Path(spec), overrides(sets, values), seed, device)
    from reid_lab import experiment

    return experiment.run(loaded, runs=folder(runs), console=_console(quiet), fresh=fresh, resume=resume)


def evaluate(
    run: Any,
    *,
    protocol: str | None = None,
    data: str | None = None,
    device: str | None = None,
    quiet: bool = False,
    sets: Sequence[str] = (),
    runs: PathLike | None = None,
    **values: Any,
) -> dict[str, float]:
    """Tests a finished run's selected weights again: `reid-lab evaluate`. The look at test is recorded.

    Args:
        run: its id, how it begins, its folder, or what `run` returned.
        protocol: another one than the run's.
        data: another data set; `**{"data.root": …}` says where it lies.

    Returns:
        The metrics in percent.

    Raises:
        UserError: an unknown or unfinished run, overrides with mistakes, data that cannot be tested so.
    """
    chosen: dict[str, Any] = {} if data is None else {"data": {"name": data}}
    chosen |= {} if protocol is None else {"eval.protocol": protocol}
    asked = overrides((), chosen) + overrides(sets, values)
    from reid_lab import experiment

    return experiment.evaluate_run(name_of(run), folder(runs), console=_console(quiet), sets=asked, device=device)


def replay(
    run: Any,
    *,
    anyway: bool = False,
    keep: bool = False,
    tolerance: float | None = None,
    quiet: bool = False,
    runs: PathLike | None = None,
) -> Replay:
    """Computes a finished run again from its record and compares every result: `reid-lab replay`.

    Args:
        run: its id, how it begins, its folder, or what `run` returned.
        anyway: computes although an input differs.
        keep: keeps what is computed, in `replays` below the runs.
        tolerance: on a GPU, the relative difference of a number that counts as the same, 0 or more.
        quiet: prints nothing.

    Returns:
        `proven`, whether the same came out; `inputs.differences`, what is not as it was recorded; `verdict`, what was
        compared and what differs first, None where nothing was computed.

    Raises:
        UserError: a run that is not there, is not finished or was not trained here.
    """
    if tolerance is not None and not tolerance >= 0:
        raise UserError(f"tolerance: expected a number from 0, got {tolerance}")
    from reid_lab.reproducing.replay import replay as again

    return again(
        name_of(run),
        folder(runs),
        console=_console(quiet),
        say=teller(quiet),
        anyway=anyway,
        keep=keep,
        tolerance=tolerance,
    )


def study(
    path: PathLike,
    *,
    trials: int | None = None,
    seeds: Sequence[int] | None = None,
    workers: int | None = None,
    compute: bool = True,
    quiet: bool = False,
    sets: Sequence[str] = (),
    runs: PathLike | None = None,
    **values: Any,
) -> Study:
    """Computes what is missing of a study and reads it: `reid-lab study FILE`.

    Args:
        path: a study file.
        trials: complete or pruned trials of each arm; None: as the file says.
        seeds: of the reported runs; None: as the file says.
        workers: trials at a time, on Ray where there are several; None: as the file says.
        compute: False reads where the study stands and computes nothing.
        **values: overrides of the study file: `**{"tune.trials": 3}`.

    Raises:
        UserError: with every mistake of the file; a study that was never begun, when nothing is computed.
    """
    place = folder(runs)
    if not compute:
        return Study.of(Path(path), place)
    if seeds is not None and (len(set(seeds)) < len(seeds) or any(seed < 0 for seed in seeds) or not len(seeds)):
        raise UserError(f"seeds: expected different whole numbers such as [0, 1, 2], got {list(seeds)}")
    from reid_lab.study.load import load_study

    loaded = load_study(Path(path), overrides(sets, values))
    from reid_lab.study import executors
    from reid_lab.study.driver import Driver

    executor = executors.choose(place, workers=workers or loaded.spec.workers)
    try:
        driver = Driver(loaded, place, executor=executor, view=_view(quiet), trials=trials, seeds=seeds)
        state = driver.drive()
    except KeyboardInterrupt:
        raise Interrupted("interrupted; nothing is lost, the same call goes on") from None
    finally:
        executor.close()
    return Study(state, place)


def _console(quiet: bool) -> Console:
    """The command line's console, or one that shows nothing, not even progress."""
    from rich.console import Console

    from reid_lab import console

    return Console(quiet=True, force_terminal=True) if quiet else console.stdout()


def _view(quiet: bool) -> View:
    from reid_lab.study import view

    return view.Nothing() if quiet else view.view()

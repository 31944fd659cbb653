"""Which runs are compared, and in which groups.

A selection is a list of words. Each is one of

* a study file, or the name of a study: the cells that the study's `state.json` names;
* the name of an experiment: all its finished runs;
* a run's id, or how it begins;
* a filter `KEY=VALUE`: `architecture`, `data`, `experiment`, `seed` or a dotted path of the spec. Filters narrow what
  the other words choose, all finished runs where there are only filters; several values of one key are alternatives.

Of one identity the latest finished attempt counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from reid_lab.errors import Fault, RunError, UserError, nearest
from reid_lab.report.groups import Group, check_keys, grouped, shown, value_of
from reid_lab.report.reading import Run, read_run
from reid_lab.tracking.runs import STUDIES, RunFolder, find, folders


@final
@dataclass
class _Chosen:
    """What the words chose: runs by id, the arms of studies, and what was left out."""

    runs: dict[str, Run] = field(default_factory=dict)
    arms: dict[str, tuple[str, ...]] = field(default_factory=dict)
    levels: dict[str, Mapping[str, str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def select(words: Sequence[str], runs: Path, *, by: Sequence[str] = ()) -> tuple[list[Group], list[str]]:
    """The groups that the words choose in a folder of runs, and what is to be told of runs that were left out.

    by: `arm`, `architecture`, `data`, `experiment`, or dotted paths; nothing: arms where a study is chosen, else runs
    of one spec but for the seed. Raises `UserError` with every word that chooses nothing.
    """
    if not runs.is_dir():
        raise RunError(Fault("no such folder of runs", str(runs)))
    filters = [word for word in words if "=" in word and not _is_file(word)]
    named = [word for word in words if word not in filters]
    chosen, faults = _Chosen(), list[Fault | str]()
    known: dict[str, Run] = {}
    for word in named:
        try:
            _choose(word, runs, chosen, known)
        except UserError as error:
            faults += error.faults
    if faults:
        raise UserError(*faults)
    if not named:
        _take(_every(runs, known), chosen, "of all runs")
    if filters:
        kept = _filtered(list(chosen.runs.values()), filters)
        chosen.runs = {run.run_id: run for run in kept}
    if not chosen.runs:
        raise RunError(Fault(f"nothing that is finished matches {' '.join(words) or 'an empty selection'}", str(runs)))
    return grouped(chosen.runs, chosen.arms, chosen.levels, by), chosen.notes


def _is_file(word: str) -> bool:
    return Path(word).suffix in (".yaml", ".yml")


def _choose(word: str, runs: Path, chosen: _Chosen, known: dict[str, Run]) -> None:
    """Adds what one word chooses."""
    state = study_state(word, runs)
    if state is not None:
        _take_study(state, runs, chosen)
        return
    if (runs / word / "journal.jsonl").is_file() or (Path(word) / "journal.jsonl").is_file():
        _take_named(read_run(find(runs, word)), chosen)
        return
    every = _every(runs, known)
    of_experiment = [run for run in every if word in (run.name, run.experiment)]
    if of_experiment:
        _take(of_experiment, chosen, f"of {word}")
        return
    try:
        folder = find(runs, word)
    except RunError as error:
        if any(run.run_id.startswith(word) for run in every):
            raise  # ambiguous
        names = {*(run.name for run in every), *(run.run_id for run in every), *_studies(runs)}
        near = nearest(word, names)
        hint = f"; did you mean '{near}'?" if near else "; `reid-lab list runs` shows what there is"
        what = f"no study, experiment or run '{word}'{hint}"
        raise RunError(Fault(what, str(runs))) from error
    _take_named(read_run(folder), chosen)


def _every(runs: Path, known: dict[str, Run]) -> list[Run]:
    """All runs here, each read once."""
    if not known:
        known.update((folder.run_id, read_run(folder)) for folder in folders(runs))
    return list(known.values())


def _take_named(run: Run, chosen: _Chosen) -> None:
    if not run.finished:
        summary = run.folder.summary()
        why = "is not finished; the command that began it goes on with it"
        if "pruned" in summary:
            why = f"was pruned ({summary['pruned']}) and never tested"
        elif "imported" in summary:
            why = "was imported, and has no test of its own"
        elif "test" in summary.get("stages", ()):
            why = "measured nothing on test"
        raise RunError(Fault(why, run.run_id))
    chosen.runs[run.run_id] = run


def _take(found: Iterable[Run], chosen: _Chosen, what: str) -> None:
    """Adds the latest finished attempt of each identity."""
    latest: dict[str, Run] = {}
    left = set[str]()
    for run in found:
        key = run.run_id.rpartition("-")[0]
        if not run.finished:
            left.add(key)
        elif key not in latest or run.folder.attempt > latest[key].folder.attempt:
            latest[key] = run
    left -= latest.keys()
    if left:
        chosen.notes.append(f"left out: {len(left)} {what} without a finished test")
    ordered = sorted(latest.values(), key=lambda run: (run.name, -1 if run.seed is None else run.seed, run.run_id))
    chosen.runs |= {run.run_id: run for run in ordered}


def _studies(runs: Path) -> dict[str, Path]:
    return {path.parent.name: path for path in sorted((runs / STUDIES).glob("*/state.json"))}


def study_state(word: str, runs: Path) -> Mapping[str, Any] | None:
    """The state of the study of this file or name; None when the word is neither."""
    states = _studies(runs)
    if not _is_file(word):
        return _state(states[word]) if word in states else None
    if not Path(word).is_file():
        raise RunError(Fault("no such file", word))
    wanted = Path(word).resolve()
    found = [state for state in map(_state, states.values()) if Path(str(state.get("file", ""))).resolve() == wanted]
    if not found and Path(word).stem in states:
        return _state(states[Path(word).stem])  # begun from another folder
    if not found:
        what = (
            f"this study was never begun in {runs}; `reid-lab study {word}` begins it (an experiment goes by its name)"
        )
        raise RunError(Fault(what, word))
    return found[-1]


def _state(path: Path) -> Mapping[str, Any]:
    try:
        state: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise RunError(Fault("is no JSON", str(path))) from None
    return state


def _take_study(state: Mapping[str, Any], runs: Path, chosen: _Chosen) -> None:
    """Adds the finished cells of a study's arms."""
    missing = []
    for arm in state["arms"]:
        name = arm["name"] if arm["name"] not in chosen.arms else f"{state['study']}/{arm['name']}"
        cells = {seed: cell["run"] for seed, cell in arm["cells"].items() if cell is not None}
        lacking = len(state["seeds"]) - len(cells)
        if lacking:
            missing.append(f"{name} lacks {lacking} of {len(state['seeds'])} seeds")
        found = [read_run(RunFolder(runs / run_id)) for run_id in cells.values()]
        for run in found:
            _take_named(run, chosen)
        if found:
            chosen.arms[name] = tuple(run.run_id for run in found)
            chosen.levels[name] = dict(arm.get("levels", {}))
    if missing:
        chosen.notes.append(f"study {state['study']} is not finished: {'; '.join(missing)}")
    if not any(cell for arm in state["arms"] for cell in arm["cells"].values()):
        raise RunError(Fault("none of its cells is finished", str(state["study"])))


def _filtered(found: list[Run], filters: Sequence[str]) -> list[Run]:
    wanted: dict[str, list[str]] = {}
    for word in filters:
        key, _, value = word.partition("=")
        wanted.setdefault(key.strip(), []).append(value.strip())
    check_keys(found, wanted, "filter")
    return [run for run in found if all(_is(value_of(run, key), values) for key, values in wanted.items())]


def _is(value: Any, texts: Sequence[str]) -> bool:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return any(_number(text) == value for text in texts)
    return shown(value) in texts


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None

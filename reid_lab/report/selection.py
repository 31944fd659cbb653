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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from reid_lab.errors import Fault, RunError, UserError, nearest, unknown
from reid_lab.report.reading import Run, read_run
from reid_lab.tracking.runs import STUDIES, RunFolder, find, folders

SHORT = {"architecture": "model.name", "data": "data.name"}
"""Short names of paths of the spec, in filters and in `--by`."""

ABSENT = "absent"
SHORTEST = 40
"""A group is named by its one change when that is no longer; else by a number, and the table tells the changes."""


@final
@dataclass(frozen=True)
class Group:
    """The runs of one line of a table, by seed; `levels` tells a study's components (`mer` -> `on`)."""

    name: str
    runs: tuple[Run, ...]
    levels: Mapping[str, str] = field(default_factory=dict)

    @property
    def seeds(self) -> tuple[int | None, ...]:
        """The seeds, in the order of the runs."""
        return tuple(run.seed for run in self.runs)


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
    return _grouped(chosen, by), chosen.notes


def _is_file(word: str) -> bool:
    return Path(word).suffix in (".yaml", ".yml")


def _choose(word: str, runs: Path, chosen: _Chosen, known: dict[str, Run]) -> None:
    """Adds what one word chooses."""
    state = _study(word, runs)
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


def _study(word: str, runs: Path) -> Mapping[str, Any] | None:
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


def value_of(run: Run, key: str) -> Any:
    """The value of a run at a key of filters and of `--by`; `absent` where its spec has no such path."""
    if key == "experiment":
        return run.name
    if key == "seed":
        return run.seed
    path = SHORT.get(key, key)
    if path in run.spec:
        return run.spec[path]
    head, _, rest = path.rpartition(".")
    while head:  # a path below an empty slot, or inside a list
        if head in run.spec:
            inner: Any = run.spec[head]
            for part in rest.split("."):
                inner = inner.get(part, ABSENT) if isinstance(inner, Mapping) else ABSENT
            return inner
        head, _, last = head.rpartition(".")
        rest = f"{last}.{rest}"
    below = {name for name in run.spec if name.startswith(f"{path}.")}
    return "on" if below else ABSENT


def shown(value: Any) -> str:
    """A value of a spec as text."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _filtered(found: list[Run], filters: Sequence[str]) -> list[Run]:
    wanted: dict[str, list[str]] = {}
    for word in filters:
        key, _, value = word.partition("=")
        wanted.setdefault(key.strip(), []).append(value.strip())
    _check_keys(found, wanted, "filter")
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


def _check_keys(found: Sequence[Run], keys: Iterable[str], kind: str) -> None:
    """Raises `UserError` for a key that none of the runs has."""
    faults = []
    for key in keys:
        if found and all(value_of(run, key) == ABSENT for run in found):
            near = nearest(key, {*SHORT, "experiment", "seed", *(path for run in found for path in run.spec)})
            hint = f"; did you mean '{near}'?" if near else ""
            faults.append(f"{kind} '{key}': no run here has such a field{hint}")
    if faults:
        raise UserError(*faults)


def _grouped(chosen: _Chosen, by: Sequence[str]) -> list[Group]:
    found = list(chosen.runs.values())
    if by == ("arm",) or (not by and chosen.arms):
        if not chosen.arms:
            raise UserError(unknown("grouping here", "arm", ("architecture", "experiment", "data", "PATH.OF.THE.SPEC")))
        groups = [
            Group(name, tuple(chosen.runs[i] for i in members if i in chosen.runs), chosen.levels[name])
            for name, members in chosen.arms.items()
        ]
        taken = {i for members in chosen.arms.values() for i in members}
        groups += _by_spec([run for run in found if run.run_id not in taken])
    elif by:
        if "arm" in by:
            raise UserError("--by arm stands alone")
        _check_keys(found, by, "--by")
        groups = _by_keys(found, by)
    else:
        groups = _by_spec(found)
    return [Group(name, _by_seed(g.runs), g.levels) for name, g in _distinct([g for g in groups if g.runs])]


def _distinct(groups: Sequence[Group]) -> Iterator[tuple[str, Group]]:
    """The groups with names of their own: an arm may be called as an experiment is."""
    names = [group.name for group in groups]
    for place, group in enumerate(groups):
        before = names[:place].count(group.name)
        yield f"{group.name} ({group.runs[0].name})" if before else group.name, group


def _by_seed(found: Sequence[Run]) -> tuple[Run, ...]:
    return tuple(sorted(found, key=lambda run: (-1 if run.seed is None else run.seed, run.run_id)))


def _by_keys(found: Sequence[Run], by: Sequence[str]) -> list[Group]:
    parts: dict[str, list[Run]] = {}
    for run in found:
        values = [
            shown(value_of(run, key)) if key in (*SHORT, "experiment") else f"{key}={shown(value_of(run, key))}"
            for key in by
        ]
        parts.setdefault(", ".join(values), []).append(run)
    return [Group(name, tuple(members)) for name, members in parts.items()]


def _by_spec(found: Sequence[Run]) -> list[Group]:
    """Runs that differ in nothing but the seed, named by what tells them from the others of their name."""
    parts: dict[str, list[Run]] = {}
    for run in found:
        parts.setdefault(json.dumps([run.name, run.spec], sort_keys=True), []).append(run)
    groups: list[Group] = []
    by_name: dict[str, list[list[Run]]] = {}
    for members in parts.values():
        by_name.setdefault(members[0].name, []).append(members)
    for name, alike in by_name.items():
        for number, members in enumerate(alike, 1):
            told = changes(alike[0][0].spec, members[0].spec)
            short = f"{name} ({told[0]})" if len(told) == 1 and len(told[0]) <= SHORTEST else f"{name} #{number}"
            groups.append(Group(short if number > 1 else name, tuple(members)))
    return groups


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """`path: value` wherever `after` differs from `before`, both flat; what lies in an emptied slot is not told."""
    told = [f"{path}: {shown(value)}" for path, value in after.items() if before.get(path, ABSENT) != value]
    for path in before:
        if path not in after and not any(path.startswith(f"{other}.") for other in after):
            emptied = any(other.startswith(f"{path}.") for other in after)  # a slot that is filled now
            if not emptied:
                told.append(f"{path}: {ABSENT}")
    return told

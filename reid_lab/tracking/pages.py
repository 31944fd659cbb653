"""Which pages of mlflow show a selection: runs, arms, whole studies, experiments.

The table of a selection opens in a view that is saved with its experiment: its columns are the metrics that the runs
have and the parameters in which they differ. The arms of a study are parents: their trials and cells unfold below them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reid_lab.errors import Fault, RunError, UserError, nearest, unknown
from reid_lab.tracking.links import charts_link, compare_link, experiment_link, files_link, home_link, link, only
from reid_lab.tracking.members import Member
from reid_lab.tracking.mirror import journals
from reid_lab.tracking.mlflow_store import STATUS_TAG, Location, Store
from reid_lab.tracking.replay import Progress
from reid_lab.tracking.runs import STUDIES, find
from reid_lab.tracking.workspace import WORKSPACE, View, apply_workspace, save_view

ALL = "all runs"
"""The saved view that the table of an experiment opens in."""
_METRICS = ("test/mAP", "test/R1", "test/R5", "test/R10", "test/mINP", "val/mAP", "val/R1")
_SEEN, _DIFFERING, _LONGEST = 100, 8, 40  # runs looked at, parameters shown, characters of a value in a table
_DULL = ("name", "description")


@dataclass(frozen=True)
class Page:
    """A link and what it shows, in a word or two."""

    what: str
    url: str


@dataclass(frozen=True)
class _Run:
    """A mirrored journal: an arm's (`STUDY/ARM`) or a run's, and its places in studies, the first one first."""

    name: str
    at: Location
    members: tuple[Member, ...]


def pages(
    runs: Path,
    store: Store,
    base: str,
    words: Sequence[str] = (),
    studies: Sequence[str] = (),
) -> list[Page]:
    """The pages of a selection, the most useful one first; their views are saved, and those of the workspace file.

    words: ids of runs or how they begin, arms (`STUDY/ARM`), names of studies or experiments; nothing: everything.
    studies: names of studies. Raises `UserError` for every word that names nothing, and for what mlflow lacks.
    """
    finder = _Finder(runs, store, base, apply_workspace(store, runs / WORKSPACE))
    if not words and not studies:
        return finder.everything()
    experiments, there = store.experiments(), finder.studies()
    chosen, whole, tables, faults = list[str](), list(studies), list[str](), list[Fault]()
    for word in words:
        if word in finder.folders:
            chosen.append(word)
        elif word in there:
            whole.append(word)
        elif word in experiments:
            tables.append(word)
        elif finder.begun(word):
            try:
                chosen.append(find(runs, word).run_id)
            except RunError as error:
                faults += error.faults  # several begin so
        else:
            faults.append(Fault(_missing(word, {*finder.folders, *experiments, *there}), str(runs)))
    if faults:
        raise RunError(*faults)
    found = finder.chosen(chosen) if chosen else []
    for study in whole:
        found += finder.study(study)
    return found + [finder.experiment(name, experiments[name]) for name in tables]


def _missing(word: str, there: Iterable[str]) -> str:
    near = nearest(word, there)
    hint = f"; did you mean '{near}'?" if near else "; `reid-lab list runs` shows what there is"
    return f"no run, study or experiment '{word}'{hint}"


class _Finder:
    """What lies where, read once."""

    def __init__(self, runs: Path, store: Store, base: str, written: Mapping[str, Sequence[str]]) -> None:
        self.runs, self.store, self.base = runs, store, base
        names = store.experiments()
        self.written = {(names[name], view) for name, views in written.items() for view in views}
        self.folders = journals(runs)

    def begun(self, word: str) -> bool:
        """Whether the word begins the id of a run."""
        return bool(word) and any(name.startswith(word) for name in self.folders if "/" not in name)

    def studies(self) -> list[str]:
        """The names of the studies here."""
        return [folder.name for folder in (self.runs / STUDIES).glob("*") if folder.is_dir()]

    def everything(self) -> list[Page]:
        """The list of experiments, and the runs of each."""
        named = [(name, ident) for name, ident in self.store.experiments().items() if ident != "0"]
        listed = [self.experiment(name, ident) for name, ident in sorted(named)]
        return [Page("experiments", home_link(self.base)), *listed]

    def experiment(self, name: str, ident: str) -> Page:
        """The table of an experiment."""
        self._save(ident, ALL, "")
        return Page(f"runs of {name}", experiment_link(self.base, ident, ALL))

    def chosen(self, words: Sequence[str]) -> list[Page]:
        """The page of one run, with the children of an arm; of several, their table, charts and comparison."""
        found = {name: self._mirrored(name, folder) for name, folder in journals(self.runs, list(words)).items()}
        waiting = [name for name, run in found.items() if run is None]
        if waiting:
            raise UserError(*(f"run {name} is not in mlflow yet; `reid-lab sync` sends it" for name in waiting))
        there = [run for run in found.values() if run]
        if len(there) == 1 and "/" in there[0].name:
            arm = there[0]
            study, _, name = arm.name.partition("/")
            return [*self._family(study, [arm], name), Page(f"arm {arm.name}", link(self.base, arm.at))]
        if len(there) == 1:
            run = there[0]
            return [Page(f"run {run.name}", link(self.base, run.at)), Page("files", files_link(self.base, run.at))]
        return self._several("chosen runs", there)

    def study(self, study: str) -> list[Page]:
        """The arms of a study with their trials and cells."""
        if study not in self.studies():
            raise UserError(Fault(unknown("study", study, self.studies()), str(self.runs)))
        arms = [run for name, path in self.folders.items() if name.rpartition("/")[0] == study
                and (run := self._mirrored(name, path))]  # fmt: skip
        if not arms:
            raise UserError(f"study {study} is not in mlflow yet; `reid-lab sync` sends it")
        return self._family(study, arms)

    def _family(self, study: str, arms: Sequence[_Run], arm: str | None = None) -> list[Page]:
        name = f"study {study}" if arm is None else f"study {study}, arm {arm}"
        search = f"tags.`reid_lab.study` = '{study}'" + ("" if arm is None else f" AND tags.`reid_lab.arm` = '{arm}'")
        found = []
        for ident in dict.fromkeys(run.at.experiment for run in arms):
            self._save(ident, name, search)
            found.append(Page(name, experiment_link(self.base, ident, name)))
        cells, trials = list[_Run](), list[_Run]()
        for path in (path for run_id, path in self.folders.items() if "/" not in run_id):
            child = self._mirrored(path.name, path)
            for member in child.members if child else ():
                if child and member.study == study and arm in (None, member.arm):
                    (cells if member.trial is None else trials).append(child)
        for what, several in (("cells", cells), ("trials", trials)):
            found += self._beside(what, several) if len(several) > 1 else []
        return found

    def _several(self, what: str, there: Sequence[_Run]) -> list[Page]:
        """Runs that belong together because somebody names them together."""
        found = []
        for ident in dict.fromkeys(run.at.experiment for run in there):
            here = [run for run in there if run.at.experiment == ident]
            view = f"runs {', '.join(run.name for run in here)}"
            self._save(ident, view, only(run.at for run in here))
            found.append(Page(what, experiment_link(self.base, ident, view)))
        return found + self._beside("", there)

    def _beside(self, what: str, there: Sequence[_Run]) -> list[Page]:
        at = [run.at for run in there]
        after = f" of {what}" if what else ""
        return [
            Page(f"charts{after}", charts_link(self.base, at)),
            Page(f"comparison{after}", compare_link(self.base, at)),
        ]

    def _mirrored(self, name: str, folder: Path) -> _Run | None:
        progress = Progress(folder, self.store)
        places = tuple(Member(**place) for place in progress.members)
        return None if progress.at is None else _Run(name, progress.at, places)

    def _save(self, ident: str, name: str, search: str) -> None:
        if (ident, name) in self.written:
            return  # the workspace file's own
        held = self.store.client().search_runs([ident], filter_string=search, max_results=_SEEN)
        save_view(self.store, ident, name, View(columns=tuple(columns(held)), search=search))


def columns(held: Sequence[Any]) -> Iterator[str]:
    """What a table of these runs of mlflow tells: the metrics they have, and the parameters in which they differ."""
    yield f"tags.`{STATUS_TAG}`"
    for metric in _METRICS:
        if any(metric in run.data.metrics for run in held):
            yield f"metrics.`{metric}`"
    names = dict.fromkeys(name for run in held for name in run.data.params if name not in _DULL)
    values = {name: {run.data.params.get(name) for run in held} - {None} for name in names}
    differing = [
        name for name, told in values.items() if len(told) > 1 and max(len(value) for value in told) <= _LONGEST
    ]
    for name in sorted(differing, key=lambda name: (name != "seed", not name.startswith("patch/")))[:_DIFFERING]:
        yield f"params.`{name}`"

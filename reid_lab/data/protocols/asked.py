"""What an experiment asks of a task: other roles, another rule, drawn galleries, missing modalities."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch

from reid_lab import seeding
from reid_lab.contracts import TEXT_ROLES
from reid_lab.data.items import ABSENT, Dataset, Groups
from reid_lab.data.protocols.base import Dropped, Options, Retrieval, Shots
from reid_lab.data.protocols.rules import RULES, known, require
from reid_lab.errors import DataError, unknown


def roles(where: str, asked: Sequence[str] | None, default: Sequence[str], allowed: Iterable[str]) -> tuple[str, ...]:
    """The roles that an option asks for, else those of the protocol. where: the option, e.g. `eval.queries`.

    Raises:
        DataError: a role that is not among the allowed ones, or one named twice.
    """
    if asked is None:
        return tuple(default)
    there = list(allowed)
    for role in asked:
        if role not in there:
            raise DataError(f"{where}: {unknown('role', role, there)}")
    if len(set(asked)) != len(asked) or not asked:
        raise DataError(f"{where}: roles are named once each, at least one (allowed: {', '.join(there)})")
    return tuple(asked)


def roles_of(dataset: Dataset, split: str, among: Sequence[str]) -> tuple[str, ...]:
    """Those of the roles `among` that have items in a split."""
    there = set(dataset.items.role[dataset.items.split == split].tolist())
    return tuple(role for role in among if role in there)


def refuse(protocol: str, options: Options, because: str, *names: str) -> None:
    """Raises `DataError` when an option of these names (fields of `Options`) is asked of a protocol that has none."""
    spelt = {"gallery": "gallery_role", "shots": "gallery"}
    for name in names:
        if getattr(options, name) is not None:
            raise DataError(f"eval.{spelt.get(name, name)}: {protocol} has no such choice; {because}")


def finished(task: Retrieval, options: Options) -> Retrieval:
    """The task as the options ask for it: rule, unmatched queries, missing modalities, drawn galleries.

    Raises:
        DataError: an unknown rule, one whose labels the data set lacks, an option that changes nothing here,
            or a task in which every query would be skipped.
    """
    task = _ruled(task, options, "the data set does not label them (another eval.removed may be chosen)")
    if options.dropped is not None:
        task = without_modalities(task, options.dropped)
    return _drawn(task, options)


def finished_given(task: Retrieval, options: Options) -> Retrieval:
    """The same for features of other code. Labels that are missing are asked for by their key."""
    computed = "features are computed already, of the modalities that they are made from"
    refuse(task.name, options, computed, "queries", "gallery", "dropped")
    remedy = "add the key '{label}' ((n,) integers) to both files, or choose another eval.removed"
    return _drawn(_ruled(task, options, remedy), options)


def _ruled(task: Retrieval, options: Options, remedy: str) -> Retrieval:
    if options.removed is not None:
        if options.removed not in RULES:
            raise DataError(f"eval.removed: {unknown('rule', options.removed, RULES)}")
        task = replace(task, rule=RULES[options.removed])
    require(task.rule, task.queries, task.gallery, remedy)
    return replace(task, no_match=options.no_match or task.no_match)


def _drawn(task: Retrieval, options: Options) -> Retrieval:
    if options.shots is not None:
        task = with_shots(task, options.shots)
    if task.no_match == "skip" and not _matched(task):
        raise DataError(
            f"{task.name}: every one of the {len(task.queries)} queries would be skipped, none has a correct item "
            f"among the {len(task.gallery)} of the gallery (removed: {task.removed})"
        )
    return task


def _matched(task: Retrieval) -> bool:
    """Whether any query has a correct item left; also where nobody is known, so that nothing can be correct."""
    asking, there = task.queries.pids, task.gallery.pids
    labelled = np.flatnonzero(asking >= 0)
    if not len(labelled) or not (there >= 0).any():
        return True
    labelled = labelled[np.isin(asking[labelled], there)]
    if task.rule.of is None:
        return bool(len(labelled))
    order = np.argsort(there, kind="stable")
    low = np.searchsorted(there[order], asking[labelled])
    high = np.searchsorted(there[order], asking[labelled], side="right")
    gone = task.rule.of(task.queries, task.gallery)
    spans = zip(labelled.tolist(), low, high, strict=True)
    return any(not gone(query, order[start:stop]).all() for query, start, stop in spans)


def _keys(groups: Groups, seed: int, number: int) -> torch.Tensor:
    """A random key for every group (n,), of its moment; of its place where the moment is unknown."""
    moments = np.where(groups.image_ids == ABSENT, ABSENT - 1 - np.arange(len(groups)), groups.image_ids)
    return seeding.keys(seed, number, torch.from_numpy(moments))


def with_shots(task: Retrieval, shots: Shots) -> Retrieval:
    """The task over galleries that are drawn as for SYSU-MM01 (Wu et al., ICCV 2017) and PRCC.

    Each trial keeps `shots` groups of every identity and camera, or all where there are fewer; of every
    identity where cameras are unknown. A draw is hashed from (seed, trial, moment), and depends on no
    other group. Distractors, which are groups of nobody who is asked for, all stay.

    Raises:
        DataError: the gallery is one of captions.
    """
    gallery = task.gallery
    if any(role in TEXT_ROLES for role in gallery.members):
        raise DataError(f"eval.gallery: images are drawn, and the gallery of {task.name} has captions")
    own = np.flatnonzero((gallery.pids >= 0) & np.isin(gallery.pids, task.queries.pids))
    others = np.setdiff1d(np.arange(len(gallery)), own)
    draws = []
    for trial in range(shots.trials):
        luck = _keys(gallery, shots.seed, trial).numpy()[own]
        order = own[np.lexsort((luck, gallery.camids[own], gallery.pids[own]))]
        place = np.arange(len(order))
        starts = np.ones(len(order), dtype=bool)
        starts[1:] = (np.diff(gallery.pids[order]) != 0) | (np.diff(gallery.camids[order]) != 0)
        shot = place - np.maximum.accumulate(np.where(starts, place, 0))
        draws.append(np.sort(np.concatenate([order[shot < shots.shots], others])))
    each = "identity and camera" if known(gallery, "camids") else "identity (cameras are unknown)"
    note = (
        f"gallery: {shots.shots} of each {each}, drawn {shots.trials} times with seed {shots.seed}; "
        f"{len(others)} distractors stay in every draw"
    )
    return replace(task, draws=tuple(draws), notes=(*task.notes, note))


def without_modalities(task: Retrieval, dropped: Dropped) -> Retrieval:
    """The task with modalities missing from its groups.

    Whether a group loses a role is hashed from (seed, role, moment): it does not depend on other groups or
    roles, and a moment that stands on both sides loses the same. A group that would lose everything keeps
    the role whose draw was highest.

    Raises:
        DataError: roles that no group has (the nearest name is given), or groups of a single item only.
    """
    sides = ("query", "gallery") if dropped.side == "both" else (dropped.side,)
    affected = {"query": task.queries, "gallery": task.gallery}
    there = {role for side in sides for role in affected[side].members}
    names = roles("eval.dropped.roles", dropped.roles, (), sorted(there))
    if all(_counts(affected[side]).max() < 2 for side in sides):
        raise DataError(f"eval.dropped: the groups of {task.name} have one item each, and none is ever left empty")
    notes = []
    for side in sides:
        before = affected[side]
        affected[side] = _lacking(before, names, dropped)
        lost = int(_counts(before).sum() - _counts(affected[side]).sum())
        notes.append(
            f"missing on the {side} side: {', '.join(names)}, each from a share of {dropped.share:g} of the groups "
            f"({lost} items, seed {dropped.seed}); no group is left empty"
        )
    return replace(task, queries=affected["query"], gallery=affected["gallery"], notes=(*task.notes, *notes))


def _counts(groups: Groups) -> np.ndarray:
    """How many items each group has: (n,)."""
    count: np.ndarray = (np.stack(list(groups.members.values())) != ABSENT).sum(axis=0)
    return count


def _lacking(groups: Groups, names: Sequence[str], dropped: Dropped) -> Groups:
    held = [role for role in groups.members if role in names]
    if not held or not dropped.share:
        return groups
    keys = _keys(groups, dropped.seed, 0)
    luck = np.concatenate([seeding.uniform(keys, f"dropped/{role}", 1).numpy().T for role in held])
    present = np.stack([groups.members[role] != ABSENT for role in held])
    gone = present & (luck < dropped.share)
    emptied = np.flatnonzero(gone.sum(axis=0) == _counts(groups))
    gone[np.where(gone, luck, -1.0).argmax(axis=0)[emptied], emptied] = False
    members = dict(groups.members)
    for role, lost in zip(held, gone, strict=True):
        members[role] = np.where(lost, ABSENT, members[role])
    return replace(groups, members={role: own for role, own in members.items() if (own != ABSENT).any()})

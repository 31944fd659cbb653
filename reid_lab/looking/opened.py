"""A finished run's model over one part of its data, its embeddings of that part, and the record of a look at test.

Figures are drawn of val unless somebody asks for test. Items of the other parts are not read, and a look at test is
written to the run's journal before anything is shown, as `reid-lab evaluate` does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

import numpy as np
import torch
from torch import Tensor

from reid_lab import measuring
from reid_lab.assembly import Parts, Source, open_source
from reid_lab.contracts import ROLES
from reid_lab.data import gallery as kept
from reid_lab.data.items import ABSENT, Groups, resolve_modality, singles
from reid_lab.data.protocols import Retrieval
from reid_lab.data.splits import only
from reid_lab.engine.checkpoint import identify
from reid_lab.errors import DataError, Fault, RunError, UserError, unknown
from reid_lab.reload import recorded, reloaded, respecified
from reid_lab.search import store
from reid_lab.seeding import rng
from reid_lab.tracking.looks import record_look
from reid_lab.tracking.runs import RunFolder, marks

PARTS = ("val", "test")
Say = Callable[[str], None]


def _silent(line: str) -> None:
    pass


@final
@dataclass(frozen=True)
class Opened:
    """A run's model over the items of one part.

    weights: their sha256. say: is told what takes long. notes: what a caption must tell.
    """

    folder: RunFolder
    part: str
    parts: Parts
    weights: str
    say: Say = _silent
    notes: Sequence[str] = ()

    @property
    def name(self) -> str:
        """The run in a figure: its experiment and seed."""
        return f"{self.parts.spec.name}, seed {self.parts.spec.seed}"

    @property
    def facts(self) -> dict[str, Any]:
        """What a figure of this run was made from."""
        data = self.parts.source.dataset.digest
        return {"run": self.folder.run_id, "weights": self.weights, "part": self.part, "data": data}

    def embed(self, groups: Groups) -> Tensor:
        """The embeddings (n, D) of groups of the part; kept, so that the next figure reads no image."""
        members = b"".join(role.encode() + column.tobytes() for role, column in groups.members.items())
        # The part of test has no name, so that a search of it finds the same embeddings.
        part = () if self.part == "test" else (self.part,)
        digest = self.parts.source.dataset.digest
        file = store(self.parts, self.weights, digest, hashlib.sha256(members).hexdigest(), *part)

        def computed() -> np.ndarray:
            self.say(f"{self.folder.run_id}: embedding {len(groups):,} items of {self.part}; they are kept")
            found: np.ndarray = self.parts.embed(groups).numpy()
            return found

        found = kept.remembered(file, computed)
        if found.problem:
            self.say(found.problem)
        return torch.from_numpy(found.vectors)

    def looked(self, figure: str) -> None:
        """Records a look at test in the run's journal; of any other part, nothing. Raises `UserError`."""
        if self.part != "test":
            return
        look = {"figure": figure, "data": self.parts.source.dataset.digest, "protocol": self.parts.spec.eval.protocol}
        record_look(self.folder, look)


def opened(folder: RunFolder, part: str = "val", *, device: str | None = None, say: Say = _silent) -> Opened:
    """The run's selected weights over the items of `val` or `test`.

    Raises `UserError`: another part, a run without weights (features of other code, pruned, unfinished, dropped), a
    part that the data do not have.
    """
    if part not in PARTS:
        raise UserError(f"--with part: {unknown('part', part, PARTS)}")
    facts = recorded(folder)
    spec = respecified(folder, device=device)
    _, weights = identify(folder.selected)
    whole = open_source(spec.data, trained=True)
    if part not in whole.dataset.items.splits():
        there = ", ".join(whole.dataset.items.splits())
        raise DataError(
            Fault(f"{spec.data.name} has no {part} items (it has {there}); --with part=… chooses", folder.run_id)
        )
    dataset = only(whole.dataset, (part,))
    parts = reloaded(folder, spec, Source(dataset, replace(whole.facts, roles=dataset.items.roles()), None), facts)
    known = json.loads((folder.path / "identity.json").read_text(encoding="utf-8")).get("data")
    changed = known is not None and known != dataset.digest
    told = [f"{folder.run_id} was trained on other data than these ({known[:12]}, not {dataset.digest[:12]})."]
    return Opened(folder, part, parts, weights, say, [*(told if changed else []), *_marks(folder, part)])


def _marks(folder: RunFolder, part: str) -> list[str]:
    """What weights that were chosen by test, or trained on the people of val, cannot show there."""
    summary = folder.summary()
    selected, fitted = str(summary.get("selected_on", "")), str(summary.get("fitted_on", "train"))
    about = marks(selected if part == "test" else "", fitted if part == "val" else "train")
    return [f"{folder.run_id}: {mark}." for mark in about]


def task_of(model: Opened, name: str | None = None) -> Retrieval:
    """What the run's protocol retrieves in the part: the first task, or the one of this name. Raises `UserError`."""
    asked = measuring.tasks(model.parts, model.part)
    if not asked:
        raise RunError(Fault("its experiment has no protocol (eval.protocol is null)", model.folder.run_id))
    if name is None:
        return asked[0]
    found = {task.name: task for task in asked}
    if name not in found:
        raise UserError(f"--with task: {unknown('task', name, found)}")
    return found[name]


def items_of(model: Opened, role: str) -> Groups:
    """Every item of a role in the part, a group each. Raises `UserError` where data or model have none."""
    read = tuple(model.parts.model.inputs)
    if role not in read:
        what = f"{model.parts.spec.model.name} reads no {role} (it reads {', '.join(read)})"
        raise RunError(Fault(what, model.folder.run_id))
    return singles(model.parts.source.dataset.items, model.part, role)


def role_named(model: Opened, name: str) -> str:
    """The role that a modality's name means. Raises `UserError`."""
    try:
        return resolve_modality(name, model.parts.spec.data.aliases)
    except DataError as error:
        raise UserError(f"--with role: {error}") from error


def people(pids: np.ndarray, wanted: Sequence[int] | int, seed: int, where: str) -> np.ndarray:
    """The identities that are shown: those wanted, or so many, drawn with a seed from those that are there.

    pids: of all items, negative where unknown. Raises `UserError` for one that is not there.
    """
    there = np.unique(pids[pids >= 0])
    if isinstance(wanted, int):
        return np.sort(rng("figure", "identities", seed).permutation(there)[:wanted])
    lost = [str(pid) for pid in wanted if pid not in there]
    if lost:
        some = ", ".join(map(str, there[:8].tolist()))
        what = f"no identity {', '.join(lost)} in {where}; it has {len(there)}: {some}{', …' if len(there) > 8 else ''}"
        raise UserError(what)
    return np.array(list(dict.fromkeys(wanted)), dtype=np.int64)


def roles_of(groups: Groups) -> list[str]:
    """Of each group, the roles of its items, joined by a plus sign."""
    named = [""] * len(groups)
    for role in (role for role in ROLES if role in groups.members):
        for group in np.flatnonzero(groups.members[role] != ABSENT).tolist():
            named[group] += f"+{role}" if named[group] else role
    return named

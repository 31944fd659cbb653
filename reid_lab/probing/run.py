"""What a finished run's embeddings hold: `reid-lab probe`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, final, get_args

import numpy as np

from reid_lab import measuring
from reid_lab.assembly import Parts, Source, assemble, init_file, open_source
from reid_lab.contracts import IMAGE_ROLES, Facts
from reid_lab.data.items import ABSENT, Groups, Items, described, joint
from reid_lab.engine.checkpoint import load_weights
from reid_lab.errors import DataError, Fault, RunError, UserError, unknown
from reid_lab.probing.attributes import Attribute, attributes, chosen, synthetic
from reid_lab.probing.counterfactual import Counterfactual, shifts
from reid_lab.probing.embeddings import Named, Vectors, embedded, named
from reid_lab.probing.keeping import check_out, keep
from reid_lab.probing.linear import STRENGTHS, Probed, probe
from reid_lab.probing.show import csv_of
from reid_lab.reload import recorded, reloaded, respecified
from reid_lab.results import result_of
from reid_lab.seeding import rng
from reid_lab.tracking.looks import record_look
from reid_lab.tracking.runs import find

Split = Literal["train", "val", "test"]
FILE = "probing/probe.json"
VERSION = 1
BEFORE, TRAINED = "before training", "trained"


@final
@dataclass(frozen=True)
class Asked:
    """What is asked of a run.

    split: whose people are probed. people: at most so many of them, drawn by `seed`. folds, seed: of the
    cross-validation. images: of each person that are changed for the counterfactuals. attributes, embeddings: names;
    empty: the usual attributes, and all embeddings.

    Raises `UserError` for what cannot be asked.
    """

    split: Split = "val"
    people: int = 500
    folds: int = 5
    seed: int = 0
    images: int = 2
    attributes: tuple[str, ...] = ()
    embeddings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        faults = [] if self.split in get_args(Split) else [f"split: {unknown('split', self.split, get_args(Split))}"]
        for name, least in (("people", 10), ("folds", 2), ("seed", 0), ("images", 1)):
            if getattr(self, name) < least:
                faults.append(f"{name}: expected a whole number from {least}, got {getattr(self, name)}")
        if faults:
            raise UserError(*faults)


def probe_run(
    name: str,
    runs: Path,
    asked: Asked,
    *,
    sets: Sequence[str] = (),
    device: str | None = None,
    out: Path | None = None,
    say: Callable[[str], object] = lambda line: None,
) -> dict[str, Any]:
    """Probes the embeddings of a run's selected weights, and of its model before training.

    The result is written to `out`, or to `probing/probe.json` in the run's folder, which its journal records; a look
    at test people is recorded in any case, before they are embedded.

    Raises `UserError`s: a run without weights or unfinished, a split that is not there or was trained on, an attribute
    or an embedding that is not known, one that takes a single value.
    """
    check_out(out)
    folder = find(runs, name)
    facts = recorded(folder)
    result = result_of(folder)
    if not folder.selected.is_file():
        raise RunError(Fault("has no weights to probe", folder.run_id))
    if asked.split == "val" and result.fitted_on != "train":
        what = f"was fitted on {result.fitted_on}: its val people are none that it has not seen; --split test has such"
        raise RunError(Fault(what, folder.run_id))
    spec = respecified(folder, sets, device)
    source = open_source(spec.data)
    if asked.split not in source.dataset.items.splits():
        there = ", ".join(source.dataset.items.splits())
        raise DataError(
            f"--split {asked.split}: {spec.data.name} has no such split as this run reads it; allowed: {there}"
        )
    known = chosen(attributes(source.dataset), asked.attributes)
    parts = reloaded(folder, spec, source, facts)
    begun = _begun(parts, facts, runs)
    wanted = _wanted(parts, asked)
    on_test = asked.split == "test"
    if on_test:
        record_look(folder, {"probed": sorted(one.name for one in known), "data": source.dataset.digest})
    found: dict[str, Any] = {
        "version": VERSION,
        "run": folder.run_id,
        "name": spec.name,
        "seed": result.seed,
        "weights_sha256": folder.summary().get("weights_sha256"),
        "data": source.dataset.digest,
        "sets": list(sets),
        "asked": asdict(asked),
        "strengths": list(STRENGTHS),
        **_probes(parts, begun, wanted, known, asked, say),
        "counterfactual": None,
    }
    try:
        found["counterfactual"] = _counterfactual(parts, begun, wanted, asked, say)
    except DataError as error:  # a world of too few people
        found["notes"].append(f"no counterfactuals: {error.faults[0]}")
    keep(folder, found, name=FILE, out=out, csv=csv_of, looked=on_test, say=say)
    return found


def _begun(parts: Parts, facts: Facts, runs: Path) -> Parts:
    """The model as the run began: the pretrained trunk, whatever is new at its initial weights."""
    begun = assemble(parts.spec, parts.source, facts, training=False)
    start = init_file(parts.spec, runs)
    if start is not None:
        load_weights(start, begun.model)
    return begun


def _wanted(parts: Parts, asked: Asked) -> list[Named]:
    queries: list[tuple[str, ...]] = []
    with suppress(UserError):  # a split that cannot be cut into queries and gallery can be probed all the same
        queries = [tuple(task.queries.members) for task in measuring.tasks(parts, asked.split)]
    found = named(parts, [max(queries, key=len)] if queries else [])
    missing = [name for name in asked.embeddings if name not in [one.name for one in found]]
    if missing:
        there = ", ".join(one.name for one in found)
        raise UserError(
            *(f"--embeddings: {parts.spec.model.name} has no embedding '{m}'; it has {there}" for m in missing)
        )
    return [one for one in found if not asked.embeddings or one.name in asked.embeddings]


def baselines(wanted: Sequence[Named], names: Mapping[str, tuple[str, tuple[str, ...]]]) -> list[Named]:
    """What stands for the roles of the wanted embeddings before training: the trunk, where the model names it."""
    found = []
    for roles in dict.fromkeys(one.roles for one in wanted):
        trunk = names.get("trunk")
        if trunk is not None and trunk[1] == roles:
            found.append(Named("trunk", roles, trunk[0]))
        else:
            found.append(Named("+".join(roles), roles))
    return found


def _groups(items: Items, asked: Asked) -> Callable[[tuple[str, ...]], Groups]:
    """The groups of roles of the people who are probed, those with an item of each role."""
    people = np.unique(items.pid[(items.split == asked.split) & (items.pid >= 0)])
    drawn = rng("probed people", asked.seed).permutation(len(people))[: asked.people]
    kept = np.sort(people[drawn])

    def of(roles: tuple[str, ...]) -> Groups:
        images, texts = [r for r in roles if r in IMAGE_ROLES], [r for r in roles if r not in IMAGE_ROLES]
        both = bool(images and texts)
        groups = described(items, asked.split, images, texts) if both else joint(items, asked.split, roles)
        whole = np.all([groups.members[role] != ABSENT for role in roles], axis=0)
        index = np.flatnonzero(whole & np.isin(items.pid[groups.members[roles[0]]], kept))
        if not len(index):
            raise DataError(f"nobody of {asked.split} has {' and '.join(roles)} of one moment")
        return groups.take(index)

    return of


def _probes(
    parts: Parts,
    begun: Parts,
    wanted: Sequence[Named],
    known: Sequence[Attribute],
    asked: Asked,
    say: Callable[[str], object],
) -> dict[str, Any]:
    """`probes`: a row for each embedding and attribute; `notes`: what could not be probed."""
    items = parts.source.dataset.items
    of = _groups(items, asked)
    say(f"embedding people of {asked.split}")
    trained = embedded(parts, wanted, of)
    present = [one for one in wanted if one.name in trained]
    first = baselines(present, parts.model.embeddings)
    stages: list[tuple[str, Sequence[Named], Mapping[str, Vectors]]] = [
        (BEFORE, first, embedded(begun, first, of)),
        (TRAINED, present, trained),
    ]
    rows, notes = list[dict[str, Any]](), dict[str, None]()
    for attribute in known:
        say(f"probing {attribute.name}")
        before = len(rows)
        for stage, names, vectors in stages:
            for one in names:
                groups = of(one.roles)
                probed = _one(vectors[one.name], attribute, groups, items, asked)
                if probed is None:
                    notes[
                        f"{attribute.name} of {'+'.join(one.roles)}: fewer than two values are had by enough people"
                    ] = None
                    continue
                rows.append(
                    {"stage": stage, "embedding": one.name, "roles": list(one.roles), **_row(attribute, probed)}
                )
        if len(rows) == before and asked.attributes:
            raise DataError(
                f"--attributes: '{attribute.name}' takes a single value, or fewer than {asked.folds} people of "
                f"{asked.split} have a second one; there is nothing to tell apart"
            )
    return {"probes": rows, "notes": list(notes)}


def _one(x: Vectors, attribute: Attribute, groups: Groups, items: Items, asked: Asked) -> Probed | None:
    """The probe of one attribute, across people; of what is one person's alone, across the person's moments."""
    numbers = next(iter(groups.members.values()))
    for column in groups.members.values():  # labels that one role does not have, another may
        numbers = np.where(attribute.labels[numbers] == ABSENT, column, numbers)
    labels, people = attribute.labels[numbers], items.pid[numbers]
    if not attribute.within:
        return probe(x, labels, people, people, folds=asked.folds, seed=asked.seed)
    moments = items.image_id[numbers]
    moments = np.where(moments == ABSENT, -1 - np.arange(len(moments)), moments)
    each = [len(np.unique(moments[labels == value])) for value in np.unique(labels[labels != ABSENT])]
    folds = min(asked.folds, int(np.median(each))) if each else 0
    return None if folds < 2 else probe(x, labels, moments, people, folds=folds, seed=asked.seed)


def _row(attribute: Attribute, probed: Probed) -> dict[str, Any]:
    def both(values: Sequence[float]) -> dict[str, float]:
        return {"mean": float(np.mean(values)), "deviation": float(np.std(values, ddof=1))}

    columns = ("balanced", "accuracy", "permuted", "majority")
    return {
        "attribute": attribute.name,
        "kind": attribute.kind,
        "across": "moments" if attribute.within else "people",
        "n": probed.n,
        "clusters": probed.clusters,
        "classes": probed.classes,
        "left_out": probed.rare,
        "folds": len(probed.balanced),
        "chance": 1 / probed.classes,
        **{name: both(getattr(probed, name)) for name in columns},
        "by_fold": {name: list(getattr(probed, name)) for name in (*columns, "strength")},
    }


def _counterfactual(
    parts: Parts, begun: Parts, wanted: Sequence[Named], asked: Asked, say: Callable[[str], object]
) -> dict[str, Any] | None:
    """How far the embeddings move when one thing is changed; None for data whose factors are not known."""
    base = synthetic(parts.source.dataset)
    if base is None:
        return None
    roles = [role for role in parts.model.inputs if role in base.spec.roles]
    say("drawing the same people in other outfits, and others in the same")
    world = Counterfactual(base, asked.split, roles, people=asked.people, images=asked.images, seed=asked.seed)
    source = Source(world, parts.source.facts, None)
    trained = embedded(parts.over(source), wanted, world.groups)
    present = [one for one in wanted if one.name in trained]
    first = baselines(present, parts.model.embeddings)
    rows = []
    stages = ((BEFORE, first, embedded(begun.over(source), first, world.groups)), (TRAINED, present, trained))
    for stage, names, vectors in stages:
        for one in names:
            moved = shifts(world.distances(vectors[one.name]), seed=asked.seed)
            told = {change: shift.plain() for change, shift in moved.items()}
            rows.append({"stage": stage, "embedding": one.name, "roles": list(one.roles), "moves": told})
    texts = [role for role in roles if role in parts.model.inputs and role.endswith("caption")]
    return {
        "people": world.people,
        "images": world.each,
        "rows": rows,
        "captions_changed": {
            role: {c: world.changed(role, c) for c in ("outfit", "person", "scene")} for role in texts
        },
    }

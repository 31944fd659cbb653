"""From embeddings to what a protocol's tasks find: metrics, per-query results, the options that were asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reid_lab.assembly import Parts
from reid_lab.contracts import ROLES
from reid_lab.data import DATASETS
from reid_lab.data.items import Groups, resolve_modality
from reid_lab.data.protocols import PROTOCOLS, Dropped, Options, Protocol, Retrieval, Shots, mean_of
from reid_lab.errors import DataError, SpecError
from reid_lab.metrics.rerank import Reranked, expanded
from reid_lab.metrics.retrieval import NoMatch, Precision, RetrievalResult, measure
from reid_lab.metrics.scores import InnerProduct, Scores
from reid_lab.spec.run import EvalSpec

CPU = torch.device("cpu")
TREATMENT: Mapping[NoMatch, str] = {"skip": "left out", "zero": "a miss", "error": "an error"}


@dataclass(frozen=True)
class Found:
    """What a task found: one result for each draw of its gallery."""

    task: Retrieval
    draws: tuple[RetrievalResult, ...]
    how: Scoring

    @property
    def metrics(self) -> dict[str, float]:
        """The means over the draws, in percent."""
        return mean_of(draw.metrics for draw in self.draws)


def options(spec: EvalSpec, aliases: Mapping[str, str]) -> Options:
    """What an experiment asks of its protocol. Raises `SpecError` for names that are not known."""

    def role(name: str, field: str) -> str:
        try:
            return resolve_modality(name, aliases)
        except DataError as error:
            raise SpecError(f"eval.{field}: {error}") from error

    shots, dropped = spec.gallery, spec.dropped
    return Options(
        queries=None if spec.queries is None else tuple(role(name, "queries") for name in spec.queries),
        gallery=None if spec.gallery_role is None else role(spec.gallery_role, "gallery_role"),
        removed=spec.removed,
        no_match=spec.no_match,
        shots=None if shots is None else Shots(shots.shots, shots.trials, shots.seed),
        dropped=None
        if dropped is None
        else Dropped(
            tuple(role(name, "dropped.roles") for name in dropped.roles), dropped.share, dropped.side, dropped.seed
        ),
    )


def protocol(parts: Parts) -> Protocol | None:
    """The protocol of a run; None where nothing is evaluated."""
    name = parts.spec.eval.protocol
    return None if name is None else PROTOCOLS[name]


def tasks(parts: Parts, split: str) -> tuple[Retrieval, ...]:
    """What is retrieved in a split; empty without a protocol, or when the split is empty.

    Raises:
        SpecError: the architecture does not read a role that a task asks for.
        DataError: the split cannot serve the protocol.
    """
    found, dataset = protocol(parts), parts.source.dataset
    if found is None or not bool(np.any(dataset.items.split == split)):
        return ()
    try:
        asked = found.tasks(dataset, split, options(parts.spec.eval, parts.spec.data.aliases))
    except DataError as error:
        raise _with_usual_protocol(error, parts) from error
    roles = {role for task in asked for side in (task.queries, task.gallery) for role in side.members}
    unread = [role for role in ROLES if role in roles and role not in parts.model.inputs]
    if unread:
        raise SpecError(
            f"eval.protocol: {parts.spec.eval.protocol} needs {', '.join(unread)}, which {parts.spec.model.name} "
            f"does not read (it reads {', '.join(parts.model.inputs)}; eval.queries and eval.gallery_role choose "
            "what is asked of it, where the protocol has a choice)"
        )
    return asked


def _with_usual_protocol(error: DataError, parts: Parts) -> DataError:
    """The error, with the protocol that the data set is measured with in the literature, where it is another."""
    name, asked = parts.spec.data.name, parts.spec.eval.protocol
    usual = DATASETS[name].protocol
    if asked == usual or name in ("synthetic", "merged", "folder"):
        return error
    first, *others = error.faults
    return DataError(replace(first, what=f"{first.what} ({name} is measured with eval.protocol: {usual})"), *others)


@dataclass(frozen=True)
class Rerank:
    """k-reciprocal re-ranking in plain values (`metrics.rerank.Reranked`)."""

    k1: int
    k2: int
    weight: float
    half: bool


@dataclass(frozen=True)
class Expansion:
    """Query expansion in plain values (`metrics.rerank.expanded`)."""

    k: int
    alpha: float


@dataclass(frozen=True)
class Scoring:
    """How embeddings become metrics; recorded with every result. device: where similarities are computed."""

    ap: Precision = "step"
    expansion: Expansion | None = None
    rerank: Rerank | None = None
    device: torch.device = CPU


def scoring(spec: EvalSpec, device: torch.device = CPU) -> Scoring:
    """What an experiment asks for."""
    expansion, rerank = spec.expansion, spec.rerank
    return Scoring(
        ap=spec.ap,
        expansion=None if expansion is None else Expansion(expansion.k, expansion.alpha),
        rerank=None if rerank is None else Rerank(rerank.k1, rerank.k2, rerank.weight, rerank.half),
        device=device,
    )


def score(task: Retrieval, queries: Tensor, gallery: Tensor, how: Scoring) -> Found:
    """The results of a task; queries (Q, D), gallery (G, D) in the order of its groups."""
    queries, gallery = queries.to(how.device), gallery.to(how.device)
    draws = task.draws or (np.arange(len(task.gallery)),)
    return Found(task, tuple(_drawn(task, queries, gallery, draw, how) for draw in draws), how)


def scores(queries: Tensor, gallery: Tensor, how: Scoring) -> Scores:
    """The similarities by which a gallery is ranked."""
    if how.expansion is not None:
        queries = expanded(queries, gallery, how.expansion.k, alpha=how.expansion.alpha)
    if how.rerank is not None:
        rerank = how.rerank
        return Reranked(queries, gallery, k1=rerank.k1, k2=rerank.k2, weight=rerank.weight, half=rerank.half)
    return InnerProduct(queries, gallery)


def _drawn(task: Retrieval, queries: Tensor, gallery: Tensor, draw: np.ndarray, how: Scoring) -> RetrievalResult:
    whole = len(draw) == len(task.gallery)
    groups = task.gallery if whole else task.gallery.take(draw)
    return measure(
        scores(queries, gallery if whole else gallery[torch.from_numpy(draw).to(gallery.device)], how),
        task.queries.pids,
        groups.pids,
        removed=None if task.rule.of is None else task.rule.of(task.queries, groups),
        no_match=task.no_match,
        ap=how.ap,
    )


def measured(parts: Parts, asked: Sequence[Retrieval]) -> Iterator[tuple[Found, Tensor, Tensor]]:
    """Each task's results, with the embeddings of its queries and gallery; shared groups are embedded once."""
    uses = [_key(side) for task in asked for side in (task.queries, task.gallery)]
    held: dict[bytes, Tensor] = {}

    def embedded(groups: Groups) -> Tensor:
        key = _key(groups)
        if key not in held:
            held[key] = parts.embed(groups)
        embeddings = held[key]
        uses.remove(key)
        if key not in uses:
            del held[key]
        return embeddings

    how = scoring(parts.spec.eval, parts.runtime.device)
    for task in asked:
        queries, gallery = embedded(task.queries), embedded(task.gallery)
        yield score(task, queries, gallery, how), queries, gallery


def _key(groups: Groups) -> bytes:
    return b"".join(role.encode() + column.tobytes() for role, column in sorted(groups.members.items()))


def summary(parts: Parts, found: Sequence[Found]) -> dict[str, float]:
    """All metrics of all tasks under flat names, as the protocol sums them up."""
    judge = protocol(parts)
    assert judge is not None
    return judge.summary({one.task.name: one.metrics for one in found})


def metrics(parts: Parts, asked: Sequence[Retrieval]) -> dict[str, float]:
    """The metrics of tasks, nothing else kept."""
    return summary(parts, [found for found, _, _ in measured(parts, asked)])


def facts(found: Sequence[Found]) -> list[dict[str, Any]]:
    """Each task in plain data: what queried what, what was removed, how many queries were valid."""
    return [
        {
            "task": one.task.name,
            "removed_from_gallery": one.task.removed,
            "gallery": len(one.task.gallery),
            "draws_of_the_gallery": len(one.draws),
            "expansion": None if one.how.expansion is None else asdict(one.how.expansion),
            "rerank": None if one.how.rerank is None else asdict(one.how.rerank),
            "notes": list(one.task.notes),
            **one.draws[0].facts(),
            "metrics": one.metrics,
        }
        for one in found
    ]


def sentences(tasks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What was asked, what was removed, what happened without a match, and ties, from the tasks' `facts`.

    A line for each task; tasks that share gallery, rule and treatment share a line when there are more than four.
    """
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for task in tasks:
        alike = (
            task["gallery"],
            task["removed_from_gallery"],
            task["query_without_match"],
            task["draws_of_the_gallery"],
        )
        groups.setdefault(alike if len(tasks) > 4 else (task["task"],), []).append(task)
    for members in groups.values():
        first = members[0]
        drawn = f", drawn {first['draws_of_the_gallery']} times" if first["draws_of_the_gallery"] > 1 else ""
        junk = f", {first['junk_items']} junk items" if first["junk_items"] else ""
        name = f"{first['task']}: " if len(tasks) > 1 else ""
        name = name if len(members) == 1 else f"{len(members)} tasks ({first['task']} … {members[-1]['task']}): "

        def total(key: str, members: Sequence[Mapping[str, Any]] = members) -> int:
            return sum(member[key] for member in members)

        treatment = TREATMENT[first["query_without_match"]]
        counts = f"{total('valid_queries')} valid, {total('queries_without_match')} without a match: {treatment}"
        removed = f"{first['removed_from_gallery']} ({total('removed_pairs')} pairs{junk})"
        yield (
            f"{name}{total('queries')} queries ({counts}), {first['gallery']} in the gallery{drawn}; removed: {removed}"
        )
    yield from dict.fromkeys(note for task in tasks for note in task["notes"])
    first = tasks[0]
    expansion = first["expansion"]
    extra = f"; query expansion k {expansion['k']}, alpha {expansion['alpha']:g}" if expansion else ""
    yield f"AP: {first['average_precision']}; scores: {first['scores']}{extra}; {first['ties']}"

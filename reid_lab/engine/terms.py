"""Loss terms: which are in use, what each is worth in this step, and when one is absent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from reid_lab.contracts import Architecture, Encoded, Sum, Term
from reid_lab.engine import optim
from reid_lab.engine.plan import StagePlan
from reid_lab.engine.runtime import Runtime
from reid_lab.errors import Fault, SpecError, unknown
from reid_lab.schedules import Progress


def chosen_terms(model: Architecture, names: Sequence[str] | None) -> tuple[Term, ...]:
    """The terms in use: those named (None: all), without those whose weight is the constant 0.

    Raises SpecError for unknown names, and when no term is left.
    """
    known = [term.name for term in model.terms]
    faults = [unknown("loss term", name, known) for name in names or () if name not in known]
    if faults:
        raise SpecError(*faults)
    kept = tuple(
        term
        for term in model.terms
        if (names is None or term.name in names) and (callable(term.weight) or term.weight != 0)
    )
    if not kept:
        raise SpecError(f"no loss term is left to train with; the architecture has: {', '.join(known) or 'none'}")
    return kept


def check_stages(model: Architecture, stages: Sequence[StagePlan]) -> None:
    """Raises SpecError with every term and every parameter pattern that the model does not know."""
    faults = []
    for stage in stages:
        for check in (
            lambda stage=stage: chosen_terms(model, stage.terms),
            lambda stage=stage: optim.check_trainable(model, stage.trainable or ()),
        ):
            try:
                check()
            except SpecError as error:
                faults += [Fault(fault.what, f"stage '{stage.name}'") for fault in error.faults]
    if faults:
        raise SpecError(*faults)


def weight_of(term: Term, progress: Progress) -> float:
    """The effective weight of a term at this point of training."""
    return float(term.weight(progress) if callable(term.weight) else term.weight)


def full_precision(value: Tensor) -> Tensor:
    """Losses are computed in float32 or better: exponentials overflow in half precision."""
    return value.float() if value.dtype in (torch.float16, torch.bfloat16) else value


def evaluate(terms: Sequence[Term], values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The raw value of every term that has its needs and a valid row."""
    found: dict[str, Tensor] = {}
    for term in terms:
        if any(need not in values for need in term.needs):
            continue
        out = term.fn(**{need: values[need] for need in term.needs})
        if isinstance(out, Sum):
            if float(out.count) > 0:
                found[term.name] = out.total / out.count
        else:
            found[term.name] = out
    return found


def local_sums(terms: Sequence[Term], parts: Sequence[Encoded]) -> dict[str, Sum]:
    """The sums of local terms over this rank's parts, for the terms whose needs any part has."""
    found: dict[str, Sum] = {}
    for part in parts:
        for term in terms:
            if all(need in part.local for need in term.needs):
                out = term.fn(**{need: full_precision(part.local[need]) for need in term.needs})
                before = found.get(term.name)
                found[term.name] = Sum(before.total + out.total, before.count + out.count) if before else out
    return found


def global_means(
    names: Sequence[str], sums: Mapping[str, Sum], runtime: Runtime
) -> tuple[dict[str, float], dict[str, float]]:
    """Means and counts over all ranks, for the names that have any valid row."""
    own = [[float(sums[n].total), float(sums[n].count)] if n in sums else [0.0, 0.0] for n in names]
    everyone = runtime.sum(torch.tensor(own, dtype=torch.float64, device=runtime.device).reshape(-1, 2)).tolist()
    counts = {name: count for name, (_, count) in zip(names, everyone, strict=True) if count > 0}
    totals = dict(zip(names, (total for total, _ in everyone), strict=True))
    return {name: totals[name] / count for name, count in counts.items()}, counts

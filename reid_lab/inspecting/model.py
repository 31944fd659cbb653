"""One model, measured: its modules with shapes, operations, parameter groups, one step, and checks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatchcase
from functools import partial
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from reid_lab.assembly import fit_plan
from reid_lab.contracts import Architecture, Batch, Facts
from reid_lab.costing import GROUPS, counted, specimen
from reid_lab.engine import optim
from reid_lab.engine.plan import FitPlan
from reid_lab.engine.terms import evaluate, full_precision, local_sums, weight_of
from reid_lab.parts.lora import LowRankLinear
from reid_lab.schedules import Progress
from reid_lab.seeding import stream
from reid_lab.spec.run import RunSpec

STEPS = 100  # of an epoch, where the data are not asked how many there are


def examine(model: Architecture, spec: RunSpec, facts: Facts, *, trained: bool = False) -> dict[str, Any]:
    """All measurements of a model, as plain data. Its gradients are left cleared, its weights as they were.

    trained: whether it has learned; adapters are then tested as if they had not.

    inputs: role -> shape of an item. modules: every module with its own and its children's tensors and elements, and
    the shape that it gives for each modality alone, for all together and in training, with the place of its call
    in the order of all calls (`shapes`, `order`: subset -> …). subsets: every
    subset of the inputs with the shape of its embeddings and the operations of one group (2 for each
    multiply-add; matrix products and convolutions alone are counted). groups: of the optimiser, stage by stage.
    terms: of one step from the beginning of the training. checks: name, whether it holds, and what does not.
    """
    checks: list[dict[str, Any]] = []
    given = specimen(model, facts)
    subsets, shapes = _embedded(model, given, checks)
    shapes["training"] = {}
    terms, total, flops, norms = _step(model, given, spec, shapes["training"], checks)
    groups = _groups(model, spec, norms, checks)
    if any(isinstance(module, LowRankLinear) for module in model.modules()):
        checks.append(_identity(model, given, trained=trained))
    learned = [p for p in model.parameters() if p.requires_grad]
    return {
        "inputs": {role: list(item.values.shape[1:]) for role, item in given.inputs.items()},
        "modules": list(_modules(model, shapes)),
        "subsets": subsets,
        "parameters": {
            "tensors": len(list(model.parameters())),
            "elements": sum(p.numel() for p in model.parameters()),
            "trainable_tensors": len(learned),
            "trainable_elements": sum(p.numel() for p in learned),
        },
        "training_flops": flops,
        "groups": groups,
        "terms": terms,
        "total": total,
        "checks": checks,
    }


def _only(given: Batch, roles: tuple[str, ...]) -> Batch:
    return Batch(given.groups, {role: given.inputs[role] for role in roles})


@contextmanager
def _watched(model: nn.Module, found: dict[str, list[int]]) -> Iterator[None]:
    """Notes the shape that each module gives, in the order of the calls; the first of several."""

    def note(path: str, module: nn.Module, given: Any, out: Any) -> None:
        first = out if isinstance(out, Tensor) else next((v for v in _values(out) if isinstance(v, Tensor)), None)
        if first is not None:
            found.setdefault(path, list(first.shape))

    with ExitStack() as hooks:
        for path, module in model.named_modules():
            if path:
                hooks.callback(module.register_forward_hook(partial(note, path)).remove)
        yield


def _values(out: Any) -> tuple[Any, ...]:
    return tuple(out.values()) if isinstance(out, Mapping) else tuple(out) if isinstance(out, tuple | list) else ()


def _embedded(
    model: Architecture, given: Batch, checks: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], dict[str, dict[str, list[int]]]]:
    """Every subset of the inputs, and the shapes of the modules for each alone and for all."""
    model.eval()
    roles = tuple(given.inputs)
    found: list[dict[str, Any]] = []
    shapes: dict[str, dict[str, list[int]]] = {}
    bent, changed = [], []
    for size in range(1, len(roles) + 1):
        for chosen in combinations(roles, size):
            name = "+".join(chosen)
            part = _only(given, chosen)
            seen: dict[str, list[int]] = {}
            with torch.no_grad(), _watched(model, seen), counted() as counter:
                embedding = model.embed(part)
            if size in (1, len(roles)):
                shapes[name] = seen
                with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
                    changed += [] if torch.equal(embedding, model.embed(part)) else [name]
            lengths = embedding.norm(dim=1)
            if embedding.shape[0] != GROUPS or not torch.allclose(lengths, torch.ones_like(lengths), atol=1e-4):
                bent.append(name)
            flops = counter.get_total_flops() // GROUPS
            found.append({"roles": list(chosen), "embedding": list(embedding.shape), "flops": flops})
    checks.append(_check("every subset of the inputs has embeddings of norm 1", bent))
    checks.append(_check("evaluation is deterministic", changed))
    return found, shapes


def _check(name: str, faults: list[str]) -> dict[str, Any]:
    return {"name": name, "passed": not faults, "detail": ", ".join(faults)}


def _step(
    model: Architecture, given: Batch, spec: RunSpec, seen: dict[str, list[int]], checks: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], float, int, dict[str, float]]:
    """The terms of one step with their weights, the weighted total, operations of a group, and gradient norms."""
    model.train()
    model.zero_grad(set_to_none=True)
    now = Progress(0, STEPS, _plan(spec).total_steps)
    with _watched(model, seen), counted() as counter, stream(spec.seed, "inspect"):
        encoded = model.encode(given)
        values = {name: full_precision(value) for name, value in model.values(encoded, now).items()}
        found = evaluate([term for term in model.terms if not term.local], values)
        sums = local_sums([term for term in model.terms if term.local], [encoded])
        found |= {name: part.total / part.count for name, part in sums.items() if float(part.count) > 0}
        weights = {term.name: weight_of(term, now) for term in model.terms}
        loss = sum((weights[name] * value for name, value in found.items()), torch.zeros((), device=given.device))
        if loss.requires_grad:
            loss.backward()  # type: ignore[no-untyped-call]
    rows = []
    for term in model.terms:
        value = float(found[term.name].detach()) if term.name in found else None
        weighted = None if value is None else weights[term.name] * value
        needs = list(term.needs)
        rows.append(
            {"name": term.name, "value": value, "weight": weights[term.name], "weighted": weighted, "needs": needs}
        )
    gradients = {n: p.grad for n, p in model.named_parameters() if p.requires_grad and p.grad is not None}
    trained = [n for n, p in model.named_parameters() if p.requires_grad]
    unreached = [n for n in trained if n not in gradients and not any(fnmatchcase(n, p) for p in model.dead)]
    checks += [
        _check("every loss is there", [term.name for term in model.terms if term.name not in found]),
        _check("losses are finite", [name for name, value in found.items() if not bool(value.isfinite())]),
        _check("gradients are finite", [name for name, g in gradients.items() if not bool(g.isfinite().all())]),
        _check("a gradient reaches every trainable parameter, those declared dead aside", unreached),
    ]
    norms = {name: float(gradient.norm()) for name, gradient in gradients.items()}
    model.zero_grad(set_to_none=True)
    return rows, float(loss.detach()), counter.get_total_flops() // GROUPS, norms


def _plan(spec: RunSpec) -> FitPlan:
    return fit_plan(spec, STEPS)


def _groups(
    model: Architecture, spec: RunSpec, norms: dict[str, float], checks: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The optimiser's groups of every stage; gradient norms as of the one step."""
    rows: list[dict[str, Any]] = []
    faults: list[str] = []
    before = {name: p.requires_grad for name, p in model.named_parameters()}
    for stage in _plan(spec).stages:
        if stage.trainable is not None:
            optim.set_trainable(model, stage.trainable)
        trainable = {name for name, p in model.named_parameters() if p.requires_grad}
        try:
            groups = optim.parameter_groups(model, stage.optimizer)
        except ValueError as error:
            faults.append(str(error))
            groups = []
        told = [name for group in groups for name in group["names"]]
        faults += [f"{name} stands in two groups" for name in sorted({n for n in told if told.count(n) > 1})]
        faults += [f"{name} stands in none" for name in sorted(trainable - set(told))]
        for group in groups:
            rows.append(
                {
                    "stage": stage.name,
                    "name": group["name"],
                    "lr": group["lr"],
                    "weight_decay": group["weight_decay"],
                    "tensors": len(group["params"]),
                    "elements": sum(p.numel() for p in group["params"]),
                    "gradient_norm": math.hypot(*(norms.get(name, 0.0) for name in group["names"])),
                    "names": group["names"],
                }
            )
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(before[name])
    checks.append(_check("groups are disjoint and complete", faults))
    return rows


def _identity(model: Architecture, given: Batch, *, trained: bool) -> dict[str, Any]:
    """With B = 0, as before training, an adapted trunk is the plain one, to the last bit.

    A model that has learned nothing must hold that zero itself; in a trained one it is set for the comparison.
    """
    adapters = [module for module in model.modules() if isinstance(module, LowRankLinear)]
    held = [adapter.lora_up.detach().clone() for adapter in adapters]
    model.eval()
    parts = [_only(given, (role,)) for role in given.inputs]
    with torch.no_grad(), ExitStack() as undone:
        for adapter, kept in zip(adapters, held, strict=True):
            undone.callback(adapter.lora_up.copy_, kept)
            if trained:
                adapter.lora_up.zero_()
        adapted = [model.embed(part) for part in parts]
        for adapter in adapters:
            adapter.forward = partial(_plain, adapter)  # type: ignore[method-assign]
            undone.callback(adapter.__dict__.pop, "forward")
        plain = [model.embed(part) for part in parts]
    bent = [role for role, a, b in zip(given.inputs, adapted, plain, strict=True) if not torch.equal(a, b)]
    return _check("adapters with B = 0 change no embedding", bent)


def _plain(adapter: LowRankLinear, x: Tensor, route: Tensor | None) -> Tensor:
    return LowRankLinear.forward(adapter, x, None)


def _modules(model: nn.Module, shapes: dict[str, dict[str, list[int]]]) -> Iterator[dict[str, Any]]:
    for path, module in model.named_modules():
        owned = list(module.parameters())
        yield {
            "path": path,
            "kind": type(module).__name__,
            "tensors": len(owned),
            "elements": sum(p.numel() for p in owned),
            "trainable": sum(p.numel() for p in owned if p.requires_grad),
            "shapes": {name: seen[path] for name, seen in shapes.items() if path in seen},
            "order": {name: list(seen).index(path) for name, seen in shapes.items() if path in seen},
        }

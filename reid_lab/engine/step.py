"""One optimisation step: encode, merge, sum the weighted terms, send gradients back, update.

The loss is that of the global batch, however many ranks and micro-batches computed it. With
micro-batches the trunks run twice (cached gradients; Gao, Zhang, Han, Callan, "Scaling Deep
Contrastive Learning Batch Size under Memory Limited Setup", 2021): once without a graph for the
features, and once more per micro-batch to receive their gradients.

Random numbers that modules draw inside a step (dropout) come from streams named by (seed, step,
part), so that they depend on nothing that was drawn before: a resumed run, the second encoding of a
micro-batch and every rank's heads see the same draws.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from reid_lab.contracts import Architecture, Batch, Encoded, Term
from reid_lab.engine import optim
from reid_lab.engine.globalbatch import GlobalBatch, merge, split
from reid_lab.engine.runtime import Runtime
from reid_lab.engine.terms import evaluate, full_precision, global_means, local_sums, weight_of
from reid_lab.errors import NonFiniteLoss
from reid_lab.schedules import Progress
from reid_lab.seeding import stream


@dataclass(frozen=True)
class StepResult:
    """What one step computed.

    `losses`: the raw value of each present term; `weights`: their effective weights; `total`: the
    weighted sum; `absent`: terms (and `diag/` diagnostics) without valid rows. `updated` is False
    when fp16 gradients overflowed and the update was skipped.
    """

    losses: dict[str, float]
    weights: dict[str, float]
    total: float
    absent: tuple[str, ...]
    diagnostics: dict[str, float]
    groups: int
    updated: bool


@final
class Step:
    """One optimisation step of one stage.

    `accumulate`: micro-batches; `clip_norm`: the largest norm of the gradient; `last_good` says, for
    the error message, which checkpoint to fall back on.
    """

    def __init__(
        self,
        model: Architecture,
        terms: Sequence[Term],
        optimizer: torch.optim.Optimizer,
        scaler: torch.amp.GradScaler,
        runtime: Runtime,
        *,
        seed: int,
        accumulate: int = 1,
        clip_norm: float | None = None,
        last_good: Callable[[], str],
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.scaler = scaler
        self.runtime = runtime
        self.seed = seed
        self.accumulate = accumulate
        self.clip_norm = clip_norm
        self.last_good = last_good
        self.global_terms = tuple(term for term in terms if not term.local)
        self.local_terms = tuple(term for term in terms if term.local)
        self.parameters = optim.trainable(optimizer)
        self.encode = torch.compile(model.encode) if runtime.compile else model.encode

    def __call__(self, batch: Batch, progress: Progress, step: int, *, diagnose: bool = False) -> StepResult:
        """Does step number `step` on this rank's prepared share of the global batch.

        Raises NonFiniteLoss, on all ranks and before any weight changes, for a loss or a gradient
        that is NaN or infinite.
        """
        self.optimizer.zero_grad(set_to_none=True)
        cached = self.accumulate > 1
        pieces = split(batch, self.accumulate)
        with torch.set_grad_enabled(not cached):
            parts = [self._encode(piece, step, i) for i, piece in enumerate(pieces)]
        whole = merge(parts, self.runtime, cached=cached)
        with stream(self.seed, "values", step), self.runtime.autocast():
            values = self.model.values(whole.encoded, progress)
        readable = {name: full_precision(value) for name, value in values.items()}

        present = evaluate(self.global_terms, readable)
        with torch.no_grad():
            sums = local_sums(self.local_terms, parts)
            local, counts = global_means([term.name for term in self.local_terms], sums, self.runtime)
        diagnostics = self._diagnose(parts, readable) if diagnose else {}
        losses = {name: float(value.detach()) for name, value in present.items()} | local
        weights = {t.name: weight_of(t, progress) for t in (*self.global_terms, *self.local_terms) if t.name in losses}
        self._refuse_non_finite(losses, step)

        loss = _anchor(whole) + sum(weights[name] * value for name, value in present.items())
        if loss.requires_grad:
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        for i, piece in enumerate(pieces):
            if cached:
                parts[i] = self._encode(piece, step, i)
            self._backward(i, parts[i], whole, weights, counts)
        updated = self._update(step)

        names = [t.name for t in (*self.global_terms, *self.local_terms)]
        return StepResult(
            losses=losses,
            weights=weights,
            total=math.fsum(weights[name] * value for name, value in losses.items()),
            absent=tuple(n for n in names if n not in losses),
            diagnostics=diagnostics,
            groups=whole.size,
            updated=updated,
        )

    def _encode(self, piece: Batch, step: int, index: int) -> Encoded:
        part = self.runtime.rank * self.accumulate + index
        with stream(self.seed, "encode", step, part), self.runtime.autocast():
            return self.encode(piece)

    def _diagnose(self, parts: Sequence[Encoded], values: Mapping[str, Tensor]) -> dict[str, float]:
        """The finite diagnostics of this step."""
        whole = [term for term in self.model.diagnostics if not term.local]
        local = [term for term in self.model.diagnostics if term.local]
        with torch.no_grad():
            found = {name: float(value) for name, value in evaluate(whole, values).items()}
            means, _ = global_means([t.name for t in local], local_sums(local, parts), self.runtime)
        return {name: value for name, value in (found | means).items() if math.isfinite(value)}

    def _refuse_non_finite(self, losses: Mapping[str, float], step: int) -> None:
        flags = torch.tensor([not math.isfinite(v) for v in losses.values()], dtype=torch.float64)
        bad = self.runtime.sum(flags.to(self.runtime.device)).tolist()
        faults = [
            f"loss '{name}' is {losses[name]} at step {step}; {self.last_good()}"
            for name, flag in zip(losses, bad, strict=True)
            if flag
        ]
        if faults:
            raise NonFiniteLoss(*faults)

    def _backward(
        self,
        index: int,
        part: Encoded,
        whole: GlobalBatch,
        weights: Mapping[str, float],
        counts: Mapping[str, float],
    ) -> None:
        """Sends the merged features' gradients and the local terms back through one part's trunk."""
        tensors, gradients = whole.gradients(index, part, self.runtime.world)
        for name, found in local_sums(self.local_terms, [part]).items():
            if name in counts and found.total.requires_grad:
                share = self.runtime.world * weights[name] / counts[name]
                tensors.append(self.scaler.scale(share * found.total))
                gradients.append(torch.ones_like(found.total))
        if tensors:
            torch.autograd.backward(tensors, gradients)

    def _update(self, step: int) -> bool:
        """Averages, unscales, checks and clips the gradients, then updates; False when fp16 overflowed."""
        average_gradients(list(self.parameters.values()), self.runtime)
        self.scaler.unscale_(self.optimizer)
        gradients = [p.grad for p in self.parameters.values() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients) if gradients else torch.zeros(())
        finite = math.isfinite(float(norm))
        if not finite and not self.scaler.is_enabled():
            bad = [n for n, p in self.parameters.items() if p.grad is not None and not bool(p.grad.isfinite().all())]
            where = f"the gradient of '{bad[0]}'" if bad else "the norm of the gradient"
            raise NonFiniteLoss(f"{where} is not finite at step {step}, every loss was; {self.last_good()}")
        if self.clip_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters.values(), self.clip_norm, norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return finite


def average_gradients(parameters: Sequence[Tensor], runtime: Runtime) -> None:
    """Replaces every gradient by its mean over ranks, in one collective.

    A parameter that no rank has a gradient for keeps none, as on a single rank.
    """
    if runtime.world == 1 or not parameters:
        return
    flat = torch.cat(
        [(p.grad if p.grad is not None else torch.zeros_like(p)).reshape(-1).float() for p in parameters]
        + [torch.tensor([p.grad is not None for p in parameters], device=runtime.device).float()]
    )
    flat = runtime.sum(flat)
    having = flat[-len(parameters) :].tolist()
    at = 0
    for parameter, ranks in zip(parameters, having, strict=True):
        mean = flat[at : at + parameter.numel()].reshape(parameter.shape) / runtime.world
        parameter.grad = mean.to(parameter.dtype) if ranks else None
        at += parameter.numel()


def _anchor(whole: GlobalBatch) -> Tensor:
    """An exact 0 in the graph of every merged feature: what absent terms contribute."""
    zero = torch.zeros((), device=next(iter(whole.encoded.groups.values())).device)
    for item in whole.encoded.items.values():
        if item.values.requires_grad:
            zero = zero + torch.nan_to_num(item.values.reshape(-1)[:1].float()).sum() * 0.0
    return zero

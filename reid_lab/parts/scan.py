"""A selective scan in plain torch: the recurrence of S6 (Gu and Dao, "Mamba: Linear-Time Sequence Modeling with
Selective State Spaces", 2023, arXiv:2312.00752, section 3 and algorithm 2), and the layer around it.

    h_t = exp(delta_t A) h_(t-1) + delta_t B_t u_t,    y_t = C_t h_t

The tokens are cut into chunks that advance side by side, one token at a time: first from a state of 0, which tells
what each chunk adds to the state that it is handed; these are chained; then again from the right states. Every factor
is exp of something that is not positive, so nothing overflows however long the sequence. The gradient is the same scan
backwards, with the states computed anew from those at the beginnings of the chunks.
"""

from __future__ import annotations

import math
from typing import Any, Literal, final

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

Start = Literal["s6", "as_published"]

CHUNK = 32
"""Tokens of a chunk at most: L tokens take 2 · CHUNK + L / CHUNK steps, one after the other."""
ELEMENTS = 1 << 24
"""The states (tokens · channels · states of some samples) that the gradient holds at a time; at least one sample's."""


def selective_scan(u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """What comes out of the recurrence, in the type of `u`; computed in float32 (in float64 where that is given).

    It holds one state (n, L / CHUNK, D, N) forwards, and the states (some samples, L, D, N) for the gradient. Of a
    sample with 387 tokens, 512 channels and 16 states, a core of a CPU makes 15 ms forwards and 40 ms backwards.

    Args:
        u: (n, L, D), the tokens.
        delta: (n, L, D), not negative; a token with 0 leaves the state as it is, as if it were not there.
        a: (D, N), negative.
        b: (n, L, N), what a token writes.
        c: (n, L, N), what is read at a token.

    Returns:
        (n, L, D).
    """
    kind = torch.float64 if u.dtype == torch.float64 else torch.float32
    with torch.autocast(u.device.type, enabled=False):
        found: Tensor = _Scan.apply(*(x.to(kind) for x in (u, delta, a, b, c)))  # type: ignore[no-untyped-call]
    return found.to(u.dtype)


def _chunked(x: Tensor) -> Tensor:
    """(n, L, W) -> (CHUNK or L, n, chunks, W), padded with 0: tokens of no step, which change no state."""
    size = max(1, min(CHUNK, x.shape[1]))
    x = F.pad(x, (0, 0, 0, -x.shape[1] % size))
    return x.view(len(x), x.shape[1] // size, size, x.shape[2]).movedim(2, 0)


def _joined(parts: list[Tensor], length: int) -> Tensor:
    """The inverse: one (n, chunks, …) for each place in a chunk -> (n, L, …)."""
    return torch.stack(parts, dim=2).flatten(1, 2)[:, :length]


def _chained(added: Tensor, kept: Tensor) -> Tensor:
    """What each of the chunks (n, chunks, …) begins with: all that those before it added, times what was kept of it."""
    state, found = torch.zeros_like(added[:, 0]), []
    for more, share in zip(added.unbind(1), kept.unbind(1), strict=True):
        found.append(state)
        state = more + share * state
    return torch.stack(found, dim=1)


@final
class _Scan(torch.autograd.Function):
    """The scan and its gradient."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        length = u.shape[1]
        steps, writes, reads = _chunked(delta), _chunked(b), _chunked(c)
        drive = steps * _chunked(u)
        kept = torch.exp(steps.sum(0)[..., None] * a)
        state = torch.zeros_like(kept)
        for t in range(len(steps)):
            state = torch.exp(steps[t][..., None] * a).mul_(state).addcmul_(drive[t][..., None], writes[t][:, :, None])
        begin = state = _chained(state, kept)
        out = []
        for t in range(len(steps)):
            state = torch.exp(steps[t][..., None] * a).mul_(state).addcmul_(drive[t][..., None], writes[t][:, :, None])
            out.append((state @ reads[t][..., None]).squeeze(-1))
        ctx.save_for_backward(u, delta, a, b, c, begin)
        return _joined(out, length)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *given: Tensor) -> tuple[Tensor, ...]:
        u, delta, a, b, c, begin = ctx.saved_tensors
        rows = max(1, ELEMENTS // (u.shape[1] * a.numel()))
        of_a, parts = torch.zeros_like(a), []
        for first in range(0, max(1, len(u)), rows):
            one = slice(first, first + rows)
            found, more = _gradient(given[0][one], u[one], delta[one], a, b[one], c[one], begin[one])
            parts.append(found)
            of_a += more
        of_u, of_delta, of_b, of_c = (torch.cat(each) for each in zip(*parts, strict=True))
        return of_u, of_delta, of_a, of_b, of_c


def _gradient(
    given: Tensor, u: Tensor, delta: Tensor, a: Tensor, b: Tensor, c: Tensor, begin: Tensor
) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """Of u, delta, b and c of some samples, and their share of that of a."""
    length = u.shape[1]
    tokens, steps, writes, reads, asked = (_chunked(x) for x in (u, delta, b, c, given))
    drive = steps * tokens
    kept = [torch.exp(steps[t][..., None] * a) for t in range(len(steps))]
    states = [begin]  # before each token of a chunk, and behind the last
    for t in range(len(steps)):
        states.append(torch.addcmul(kept[t] * states[-1], drive[t][..., None], writes[t][:, :, None]))
    # What the loss asks of a state, through all that comes after it: within the chunk, then through later chunks.
    owed = torch.zeros_like(begin)
    for t in reversed(range(len(steps))):
        owed = owed.addcmul_(asked[t][..., None], reads[t][:, :, None]).mul_(kept[t])
    whole = torch.exp(steps.sum(0)[..., None] * a)
    owed = _chained(owed.flip(1), whole.flip(1)).flip(1)
    of_a = torch.zeros_like(a)
    of_u, of_delta, of_b, of_c = ([] for _ in range(4))
    for t in reversed(range(len(steps))):
        of_c.append((asked[t][:, :, None] @ states[t + 1]).squeeze(-2))
        owed = owed.addcmul_(asked[t][..., None], reads[t][:, :, None])
        written = (owed @ writes[t][..., None]).squeeze(-1)
        of_u.append(written * steps[t])
        of_b.append((drive[t][:, :, None] @ owed).squeeze(-2))
        owed = owed.mul_(kept[t])
        slope = owed * states[t]  # of delta_t A
        of_delta.append(torch.einsum("ncdk,dk->ncd", slope, a).addcmul_(written, tokens[t]))
        of_a += torch.einsum("ncdk,ncd->dk", slope, steps[t])
    found = (_joined(each[::-1], length) for each in (of_u, of_delta, of_b, of_c))
    return tuple(found), of_a  # type: ignore[return-value]


@final
class SelectiveStateSpace(nn.Module):
    """The layer: what a token writes, what is read and how far the state moves on are linear in the token itself.

    Every channel has `states` of its own, which decay at rates of 1, 2, … at the start, and passes its token on beside
    them. start: as published, the general initialisation of linear maps (deviation .02, bias 0) wipes out that of S6,
    by which steps begin log-uniform between .001 and .1: they all begin at softplus(0) = .69.
    """

    def __init__(self, width: int, states: int, rank: int, start: Start) -> None:
        """rank: of the map from tokens to steps."""
        super().__init__()
        self.sizes = (rank, states, states)
        self.read = nn.Linear(width, sum(self.sizes), bias=False)
        self.step = nn.Linear(rank, width)
        self.log_rate = nn.Parameter(torch.arange(1.0, states + 1).log().repeat(width, 1))
        self.skip = nn.Parameter(torch.ones(width))
        self.norm = nn.LayerNorm(width)
        if start == "as_published":
            for layer in (self.read, self.step):
                nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(self.step.bias)
        else:
            nn.init.uniform_(self.step.weight, -(rank**-0.5), rank**-0.5)
            steps = torch.empty(width).uniform_(math.log(1e-3), math.log(0.1)).exp()
            with torch.no_grad():
                self.step.bias.copy_(steps + torch.log(-torch.expm1(-steps)))  # the inverse of softplus

    def forward(self, x: Tensor, there: Tensor | None = None) -> Tensor:
        """Tokens (n, L, D) -> (n, L, D); `there` (n, L) is 0 at tokens that are not to be seen, else 1."""
        low, write, read = self.read(x).split(self.sizes, dim=-1)
        delta = F.softplus(self.step(low))
        if there is not None:
            delta = delta * there[..., None]
        y = selective_scan(x, delta, -self.log_rate.exp(), write, read) + self.skip * x
        return self.norm(y)  # type: ignore[no-any-return]

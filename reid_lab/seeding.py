"""Random numbers as pure functions of what they are for.

Two kinds:

* *named streams* for initial weights and other one-off draws: every named part draws from its own
  generator, so that removing a slot leaves all other initial weights bit-identical;
* *keys* for everything that happens during training (augmentation, masks): one 64-bit key per
  sample, hashed from (seed, epoch, position in the epoch); uniform numbers are hashed from the key,
  the name of the draw and a counter. The result does not depend on batch shape, rank, worker,
  device or on what was drawn before, which is what makes a resumed or distributed run equal.

The hash is the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), on wrapping int64.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def derive(*parts: int | str) -> int:
    """A non-negative 63-bit seed from a path of names and integers, e.g. derive(seed, "mlm_head")."""
    text = "/".join(f"{type(p).__name__}:{p}" for p in (int(p) if not isinstance(p, str) else p for p in parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def rng(*parts: int | str) -> np.random.Generator:
    """A numpy generator (Philox) of its own for the named path."""
    return np.random.Generator(np.random.Philox(derive(*parts)))


@contextmanager
def stream(*parts: int | str) -> Iterator[None]:
    """Inside, torch's global CPU generator is seeded for the named part; outside it is untouched.

    Build each part of a model inside its own stream: `with stream(seed, "classifier"): ...`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(*parts))
        yield


_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as int64
_MIX1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX2 = -7723592293110705685  # 0x94D049BB133111EB


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical right shift of int64 (torch's own is arithmetic)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def mix(x: Tensor) -> Tensor:
    """SplitMix64's finaliser, elementwise on int64."""
    x = x + _GOLDEN
    x = (x ^ _shift(x, 30)) * _MIX1
    x = (x ^ _shift(x, 27)) * _MIX2
    return x ^ _shift(x, 31)


def keys(seed: int, epoch: int, positions: Tensor) -> Tensor:
    """One key per sample: (n,) int64 from the run's seed, the epoch and the position in the epoch."""
    return mix(positions.to(torch.int64) ^ derive(seed, "sample", epoch))


def uniform(sample_keys: Tensor, name: str, count: int) -> Tensor:
    """Uniform numbers in [0, 1): (n, count) float32 (24 bits), for the draw `name` of each sample."""
    counter = torch.arange(count, device=sample_keys.device, dtype=torch.int64)
    base = mix(sample_keys ^ derive(name))
    bits = mix(base[:, None] + counter[None, :] * _GOLDEN)
    return _shift(bits, 40).to(torch.float32) * (1.0 / (1 << 24))

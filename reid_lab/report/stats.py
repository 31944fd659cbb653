"""How sure a difference is.

Two claims are told apart.

*New training seeds.* A seed's metric is `y[s] = mu + A[s]`, A normal over training seeds, on these test items. Two
groups with the same seeds are compared by `paired`, others by `welch`. `crossed` widens the claim to other people:
`d[s, i] = delta + A[s] + B[i] + E[s, i]` for seed s and test identity i, both drawn at random.

*These trained models.* `randomisation` and `bootstrap` hold the weights fixed and ask what other queries would have
given. They say nothing about a training that is repeated.

The functions take arrays with any leading dimensions. Of scipy only `scipy.special` is used, since `scipy.stats` takes
seconds to import; the tests compare with `scipy.stats`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]
LEVEL = 0.95
RESAMPLES = 10_000
POWER = 0.8


@final
@dataclass(frozen=True)
class Interval:
    """A difference (…,) with its interval, two-sided p-value and degrees of freedom; NaN where nothing can be said."""

    mean: Array
    low: Array
    high: Array
    p: Array
    df: Array


def paired(a: Any, b: Any, level: float = LEVEL) -> Interval:
    """The t interval of a - b over seeds that both have; a, b (…, n) in the same order of seeds.

    Student (1908), The probable error of a mean, Biometrika 6(1). One seed leaves everything but the mean NaN.
    """
    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    n = difference.shape[-1]
    if n < 2:
        nothing = np.full(difference.shape[:-1], np.nan)
        return Interval(difference.mean(axis=-1), nothing, nothing, nothing, nothing)
    error = difference.std(axis=-1, ddof=1) / np.sqrt(n)
    return _t(difference.mean(axis=-1), error, np.asarray(n - 1.0), level)


def welch(a: Any, b: Any, level: float = LEVEL) -> Interval:
    """The t interval of mean(a) - mean(b) where seeds do not pair; a (…, n), b (…, m), variances may differ.

    Welch (1947), The generalization of Student's problem when several different population variances are involved,
    Biometrika 34(1-2). A group of one seed leaves everything but the mean NaN.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    mean = a.mean(axis=-1) - b.mean(axis=-1)
    n, m = a.shape[-1], b.shape[-1]
    if min(n, m) < 2:
        nothing = np.full(mean.shape, np.nan)
        return Interval(mean, nothing, nothing, nothing, nothing)
    u, v = a.var(axis=-1, ddof=1) / n, b.var(axis=-1, ddof=1) / m
    with np.errstate(invalid="ignore"):
        df = (u + v) ** 2 / (u**2 / (n - 1) + v**2 / (m - 1))
    return _t(mean, np.sqrt(u + v), np.where(u + v > 0, df, min(n, m) - 1.0), level)


def crossed(d: Any, level: float = LEVEL) -> Interval:
    """The interval of the mean of d (…, n, m): n seeds crossed with m test identities, both random.

    The variance is that of Clark (1973), The language-as-fixed-effect fallacy, J. Verbal Learning and Verbal Behavior
    12(4): (MS_seeds + MS_identities - MS_rest) / nm; the degrees of freedom are those of Satterthwaite (1946), An
    approximate distribution of estimates of variance components, Biometrics Bulletin 2(6), but never below n - 1. Where
    identities vary no more than the rest, it is `paired`; it is never narrower, since with three seeds Satterthwaite's
    degrees of freedom alone cover too little.
    """
    d = np.asarray(d, dtype=float)
    n, m = d.shape[-2:]
    mean = d.mean(axis=(-2, -1))
    if n < 2 or m < 2:
        nothing = np.full(mean.shape, np.nan)
        return Interval(mean, nothing, nothing, nothing, nothing)
    of_seed, of_identity = d.mean(axis=-1), d.mean(axis=-2)
    seeds = m * of_seed.var(axis=-1, ddof=1)
    identities = n * of_identity.var(axis=-1, ddof=1)
    rest = d - of_seed[..., :, None] - of_identity[..., None, :] + mean[..., None, None]
    rest = (rest**2).sum(axis=(-2, -1)) / ((n - 1) * (m - 1))
    wider = identities > rest
    total = np.where(wider, seeds + identities - rest, seeds)
    spread = seeds**2 / (n - 1) + identities**2 / (m - 1) + rest**2 / ((n - 1) * (m - 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        df = np.where(wider, np.maximum(total**2 / spread, n - 1.0), n - 1.0)
    both = _t(mean, np.sqrt(total / (n * m)), df, level)
    alone = _t(mean, np.sqrt(seeds / (n * m)), np.asarray(n - 1.0), level)
    low, high = np.fmin(both.low, alone.low), np.fmax(both.high, alone.high)
    return Interval(mean, low, high, np.fmax(both.p, alone.p), both.df)


def _t(mean: Array, error: Array, df: Array, level: float) -> Interval:
    # Differences that are all the same have no deviation to judge by; all zero they are those of equal runs.
    error = np.where((error > 1e-12 * np.abs(mean)) | (mean == 0), error, np.nan)
    half = special.stdtrit(df, 0.5 + level / 2) * error
    with np.errstate(invalid="ignore", divide="ignore"):
        t = np.where(mean == 0, 0.0, mean / error)
    p = 2 * special.stdtr(df, -np.abs(t))
    return Interval(mean, mean - half, mean + half, p, np.broadcast_to(df, np.shape(mean)))


def effect(a: Any, b: Any) -> Array:
    """The difference of the means of a (…, n) and b (…, m) in deviations among seeds, corrected for small samples.

    Hedges (1981), Distribution theory for Glass's estimator of effect size, J. Educational Statistics 6(2): g. The
    deviation is the root of the mean of both variances. NaN for one seed or no deviation.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    n, m = a.shape[-1], b.shape[-1]
    mean = a.mean(axis=-1) - b.mean(axis=-1)
    if min(n, m) < 2:
        return np.full(mean.shape, np.nan)
    deviation = np.sqrt((a.var(axis=-1, ddof=1) + b.var(axis=-1, ddof=1)) / 2)
    df = n + m - 2.0
    correction = np.exp(special.gammaln(df / 2) - special.gammaln((df - 1) / 2)) / np.sqrt(df / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(deviation > 0, correction * mean / deviation, np.nan)


def detectable(deviation: float, n: int, *, level: float = LEVEL, power: float = POWER) -> tuple[float, float]:
    """With n paired seeds whose differences deviate so: the least significant difference, and one found with `power`.

    Cohen (1988), Statistical power analysis for the behavioral sciences, ch. 2; the second from the noncentral t.
    NaN for one seed.
    """
    if n < 2:
        return np.nan, np.nan
    error, df = deviation / np.sqrt(n), n - 1.0
    critical = float(special.stdtrit(df, 0.5 + level / 2))
    # beyond this noncentrality t is at most `critical` with probability 1 - power
    shift = float(special.nctdtrinc(df, 1 - power, critical))
    return critical * error, shift * error


def holm(p: Any) -> Array:
    """Adjusted p-values (…, k) that keep the family-wise error; NaN stays and does not count.

    Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian J. Statistics 6(2).
    """
    return _stepwise(np.asarray(p, dtype=float), up=False)


def benjamini_hochberg(p: Any) -> Array:
    """Adjusted p-values (…, k) that keep the false discovery rate; NaN stays and does not count.

    Benjamini and Hochberg (1995), Controlling the false discovery rate, J. Royal Statistical Society B 57(1).
    """
    return _stepwise(np.asarray(p, dtype=float), up=True)


def _stepwise(p: Array, *, up: bool) -> Array:
    order = np.argsort(p, axis=-1)  # NaN last
    ordered = np.take_along_axis(p, order, axis=-1)
    k = (~np.isnan(p)).sum(axis=-1, keepdims=True)
    rank = np.arange(1, p.shape[-1] + 1)
    if up:
        scaled = np.where(np.isnan(ordered), np.inf, ordered * k / rank)
        steps = np.minimum.accumulate(scaled[..., ::-1], axis=-1)[..., ::-1]
    else:
        steps = np.maximum.accumulate(np.where(np.isnan(ordered), -np.inf, ordered * (k - rank + 1)), axis=-1)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, np.minimum(steps, 1.0), axis=-1)
    return np.where(np.isnan(p), np.nan, adjusted)


def randomisation(d: Any, *, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """The p-value of the mean of d (m,) being zero, signs flipped at random: one sign for each identity.

    Fisher (1935), The design of experiments, §21; for retrieval Smucker, Allan and Carterette (2007), A comparison of
    statistical significance tests for information retrieval evaluation, CIKM. d: what each identity's queries add to
    the difference, so that queries of one person are flipped together. Of these trained models only.
    """
    d = np.asarray(d, dtype=float)
    random = np.random.default_rng(seed)
    beyond, observed = 0, abs(d.sum()) * (1 - 1e-12)
    for count in _portions(resamples, len(d)):
        signs = random.integers(0, 2, (count, len(d))) * 2 - 1
        beyond += int((np.abs(signs @ d) >= observed).sum())
    return (beyond + 1) / (resamples + 1)


def shares(values: Any, pids: Any, *, centred: bool = False) -> Array:
    """What each person adds to the mean of values (n,): (people,), scaled so that their mean is that mean.

    centred: as far as a person's queries are other than the mean, so that how many a person has adds nothing to the
    interval of the mean (which is a ratio of two sums; the delta method).
    """
    people, inverse = np.unique(pids, return_inverse=True)
    middle = float(values.mean()) if centred else 0.0
    total = np.bincount(inverse, weights=values - middle, minlength=len(people))
    found: Array = np.asarray(middle + total * (len(people) / len(values)), dtype=np.float64)
    return found


def bootstrap(d: Any, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0) -> tuple[float, float]:
    """The percentile interval of the mean of d (m,), identities drawn with replacement.

    Efron and Tibshirani (1993), An introduction to the bootstrap, ch. 13; whole clusters are drawn as in Field and
    Welsh (2007), Bootstrapping clustered data, J. Royal Statistical Society B 69(3). Of these trained models only.
    """
    d = np.asarray(d, dtype=float)
    random = np.random.default_rng(seed)
    means = [d[random.integers(0, len(d), (n, len(d)))].mean(axis=1) for n in _portions(resamples, len(d))]
    low, high = np.quantile(np.concatenate(means), [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def _portions(resamples: int, width: int) -> list[int]:
    """Resamples in portions of at most 4 million draws, so that memory stays small."""
    at_once = max(1, 4_000_000 // max(1, width))
    return [min(at_once, resamples - first) for first in range(0, resamples, at_once)]

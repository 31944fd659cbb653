"""Chains of segments, as plain functions and as YAML tells them; a segment that begins within its length."""

import math

import pytest
from pydantic import ValidationError

from reid_lab.schedules import Progress, Segment, Span, chain
from reid_lab.spec.identity import identity
from reid_lab.spec.schedule import ChainSpec, Length, SegmentSpec


def at(epoch, step=0):
    return Progress(epoch * 10 + step, 10, 1200)


def chained(*segments):
    return ChainSpec(kind="chain", segments=segments, every="epoch")


def test_transreid_s_warm_up_joins_a_cosine_that_began_in_epoch_0():
    """timm's cosine with 5 epochs of warm-up from .01 and an end of .002, read at every epoch."""
    cosine = SegmentSpec(start=1.0, end=0.002, length=Length(epochs=120), elapsed=Length(epochs=5), shape="cosine")
    factor = chained(SegmentSpec(start=0.01, end=1.0, length=Length(epochs=5)), cosine).build()
    for epoch in range(125):
        late = 0.002 + 0.998 * (1 + math.cos(math.pi * min(epoch, 120) / 120)) / 2
        assert factor(at(epoch, 7)) == pytest.approx(0.01 + 0.198 * epoch if epoch < 5 else late, abs=1e-12)


@pytest.mark.parametrize("unit", ["epochs", "steps", "fraction"])
def test_what_has_elapsed_is_cut_off_the_front(unit):
    """The piece is the rest of the whole one, and the next begins as much earlier."""
    one = {"epochs": 10.0, "steps": 1.0, "fraction": 1200.0}[unit]
    whole = Segment(0.0, 1.0, Span(480 / one, unit), "cosine")
    late = Segment(0.0, 1.0, Span(480 / one, unit), "cosine", Span(120 / one, unit))
    after = Segment(5.0, 7.0, Span(100, "steps"))
    uncut, cut = chain([whole, after]), chain([late, after])
    for step in range(0, 700, 13):
        assert cut(Progress(step, 10, 1200)) == pytest.approx(uncut(Progress(step + 120, 10, 1200)), abs=1e-12)


def test_without_it_nothing_changes_to_the_last_bit():
    plain = Segment(0.1, 0.9, Span(37, "steps"), "sigmoid")
    started = Segment(0.1, 0.9, Span(37, "steps"), "sigmoid", Span(0.0, "fraction"))
    for step in range(50):
        x = 2.0 / (1.0 + math.exp(-10.0 * (step / 37.0))) - 1.0
        wanted = 0.1 * (1.0 - x) + 0.9 * x if step < 37 else 0.9
        assert chain([plain])(Progress(step, 10, 100)) == chain([started])(Progress(step, 10, 100)) == wanted


def test_a_run_without_it_keeps_its_identity():
    """The hash is that of a spec whose segments know no such field."""
    plain = chained(SegmentSpec(start=0.0, end=1.0, length=Length(epochs=2)))
    late = chained(SegmentSpec(start=0.0, end=1.0, length=Length(epochs=2), elapsed=Length(epochs=1)))
    assert identity(plain, {}) == "a451f1716bc727881e1c5692538bb1d71bcdbb296e7b046d7b5d68332b000eda"
    assert identity(late, {}) != identity(plain, {})


@pytest.mark.parametrize(
    ("elapsed", "told"),
    [
        ({"epochs": 4}, "not shorter than the length"),
        ({"steps": 3}, "in steps, and the length in epochs"),
        ({"epochs": 1, "steps": 1}, "exactly one of epochs, steps, fraction"),
    ],
)
def test_what_cannot_have_elapsed(elapsed, told):
    with pytest.raises(ValidationError, match=told):
        SegmentSpec(start=0.0, end=1.0, length=Length(epochs=4), elapsed=elapsed)

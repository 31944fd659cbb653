"""Which losses are there, by their weights."""

from types import SimpleNamespace

import pytest

from reid_lab.spec.schedule import ChainSpec, Length, SegmentSpec
from reid_lab.spec.weight import active, on

RAMP = ChainSpec(kind="chain", segments=(SegmentSpec(start=0.0, end=0.0, length=Length(fraction=1.0)),))


@pytest.mark.parametrize(("weight", "there"), [(None, False), (0, False), (0.0, False), (0.5, True), (RAMP, True)])
def test_a_weight_of_null_or_zero_removes_a_loss(weight, there):
    section = SimpleNamespace(weight=weight)
    assert on(weight) is there
    assert active(section) is (section if there else None)
    assert active(None) is None

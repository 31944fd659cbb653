"""`reid-lab list architectures`: every architecture with its paper, its authors' code and its knobs."""

import pytest

from reid_lab import cli
from reid_lab.architectures import ARCHITECTURES
from reid_lab.spec.knobs import knobs
from tests.architectures.switches import switches


@pytest.fixture
def listed(capsys):
    def of(*arguments):
        with pytest.raises(SystemExit) as exited:
            cli.main(["list", "architectures", *arguments])
        told = capsys.readouterr()
        return int(exited.value.code or 0), told.out.splitlines(), told.err.splitlines()

    return of


def test_each_with_paper_code_and_searched_knobs(listed):
    code, out, _ = listed()
    assert code == 0
    for name, entry in ARCHITECTURES.items():
        assert any(line.startswith(f"{name} ") and entry.paper in line and entry.code in line for line in out)
        assert any(line.startswith(f"{name}: ") for line in out)
    temperature = next(line for line in out if line.startswith("irra: temperature "))
    assert temperature.split() == ["irra:", "temperature", "0.02", "0.01", "to", "0.2,", "log"]


def test_one_with_all_its_knobs(listed):
    code, out, _ = listed("irra")
    assert code == 0
    lines = {line.split("  ")[0]: line for line in out}
    assert "a mapping (value, normalise) or null" in lines["soft_label"]
    assert "{rows, columns}" in lines["soft_label.normalise"]
    assert "0 to 6" in lines["mlm.depth"]
    assert "or a schedule" in lines["id"]


def test_an_unknown_name_has_a_near_one(listed):
    code, out, err = listed("ira")
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith("reid-lab: unknown architecture 'ira'; allowed: ")
    assert err[0].endswith("did you mean 'irra'?")


@pytest.mark.parametrize("name", sorted(ARCHITECTURES))
def test_every_switch_is_a_knob_that_is_listed(name):
    paths = {knob.path for knob in knobs(ARCHITECTURES[name].load().spec())}
    assert {switch.path for switch in switches(name)} <= paths

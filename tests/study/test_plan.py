"""Plans against an enumeration of all cells, and the names of arms."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reid_lab.errors import SpecError
from reid_lab.spec.study import ComponentSpec, StudySpec, SweepSpec
from reid_lab.study.plan import plan
from tests.study.fakes import study

PATHS = {"a": "train.batch.size", "b": "train.accumulate", "c": "train.clip_norm", "d": "eval.patience"}
VALUE = {"on": None, "off": 7, "x": 8, "y": 9}


@st.composite
def designs(draw):
    """A design, levels by component, and the rules (owner, requires or excludes, component, level or None)."""
    design = draw(st.sampled_from(["leave_one_out", "add_one", "path", "factorial"]))
    names = list(PATHS)[: draw(st.integers(1, 4))]
    more = [] if design == "path" else ["x", "y"]
    levels = {}
    for name in names:
        others = draw(st.lists(st.sampled_from(more), unique=True)) if more else []
        off = design in ("path", "add_one") or not others or draw(st.booleans())
        levels[name] = (["off"] if off else []) + others
    rules = []
    for index, owner in enumerate(names):
        for key, among in (("requires", names[:index]), ("excludes", [n for n in names if n != owner])):
            for other in draw(st.lists(st.sampled_from(among), unique=True, max_size=2)) if among else ():
                level = draw(st.sampled_from([None, None, "on", *levels[other]]))
                rules.append((owner, key, other, level))
    return design, levels, rules


def in_design(design: str, cell: dict[str, str]) -> bool:
    on = [level == "on" for level in cell.values()]
    off = [level == "off" for level in cell.values()]
    return {
        "leave_one_out": on.count(False) <= 1,
        "add_one": off.count(False) <= 1,
        "path": on == sorted(on, reverse=True) and all(a != b for a, b in zip(on, off, strict=True)),
        "factorial": True,
    }[design]


def broken(cell: dict[str, str], rules) -> list[str]:
    found = []
    for owner, key, other, level in rules:
        holds = cell[other] != "off" if level is None else cell[other] == level
        if cell[owner] != "off" and holds != (key == "requires"):
            found.append(f"{owner} {key} {other}" + (f"={level}" if level else ""))
    return found


def written(design, levels, rules) -> str:
    text = f"design: {design}\ncomponents:\n"
    for name, own in levels.items():
        text += f"  {name}:\n" + "".join(f"    {level}: {{{PATHS[name]}: {VALUE[level]}}}\n" for level in own)
        for key in ("requires", "excludes"):
            named = [o + (f"={level}" if level else "") for owner, k, o, level in rules if (owner, k) == (name, key)]
            text += f"    {key}: [{', '.join(named)}]\n"
    return text


RANDOM = {"deadline": None, "suppress_health_check": [HealthCheck.function_scoped_fixture], "derandomize": True}


@settings(max_examples=60, **RANDOM)
@given(designs())
def test_a_plan_is_the_enumeration_of_its_cells(tmp_path, drawn):
    compare(tmp_path, drawn)


@pytest.mark.slow
@settings(max_examples=1000, **RANDOM)
@given(designs())
def test_a_thousand_plans_are_the_enumerations_of_their_cells(tmp_path, drawn):
    compare(tmp_path, drawn)


def compare(tmp_path, drawn) -> None:
    """A random study file against all of its cells."""
    design, levels, rules = drawn
    cells = [dict(zip(levels, c, strict=True)) for c in product(*(["on", *own] for own in levels.values()))]
    wanted = [cell for cell in cells if in_design(design, cell)]
    allowed = [cell for cell in wanted if not broken(cell, rules)]
    text = written(design, levels, rules)
    if not allowed:
        with pytest.raises(SpecError, match="no cell is left"):
            study(tmp_path, text)
        return
    loaded = study(tmp_path, text)
    key = lambda cell: sorted(cell.items())  # noqa: E731
    assert sorted(key(arm.levels) for arm in loaded.plan.arms) == sorted(map(key, allowed))
    assert sorted(key(cell.levels) for cell in loaded.plan.rejected) == sorted(
        key(cell) for cell in wanted if broken(cell, rules)
    )
    assert all(rule in cell.reason for cell in loaded.plan.rejected for rule in broken(dict(cell.levels), rules))
    names = [cell.name for cell in (*loaded.plan.arms, *loaded.plan.rejected)]
    assert len(set(names)) == len(names)
    for arm in loaded.plan.arms:
        found = {name: _at(loaded.specs[arm.name], path) for name, path in PATHS.items()}
        base = {name: _at(loaded.base.spec, path) for name, path in PATHS.items()}
        assert found == base | {name: VALUE[level] for name, level in arm.levels.items() if level != "on"}


def _at(spec, path):
    for part in path.split("."):
        spec = getattr(spec, part)
    return spec


def components(**levels: list[str]) -> dict[str, ComponentSpec]:
    return {n: ComponentSpec(levels={level: {f"{n}.{level}": 1} for level in own}) for n, own in levels.items()}


@pytest.mark.parametrize(
    ("design", "names"),
    [
        ("leave_one_out", ["full", "no_a", "a=x", "no_b"]),
        ("add_one", ["none", "a", "a=x", "b"]),
        ("factorial", ["full", "no_b", "no_a", "no_a,no_b", "a=x", "a=x,no_b"]),
    ],
)
def test_arms_are_named_for_what_they_change(design, names):
    spec = StudySpec(base="b", design=design, components=components(a=["off", "x"], b=["off"]))
    assert [arm.name for arm in plan(spec).arms] == names


def test_a_path_turns_components_on_in_order():
    spec = StudySpec(base="b", design="path", components=components(a=["off"], b=["off"]))
    assert [(arm.name, arm.patch) for arm in plan(spec).arms] == [
        ("none", {"a.off": 1, "b.off": 1}),
        ("a", {"b.off": 1}),
        ("a+b", {}),
    ]


def test_a_rejected_cell_says_why():
    parts = components(a=["off"], b=["off", "x"]) | {"c": ComponentSpec(levels={"off": {"c": 1}}, requires=("b=x",))}
    found = plan(StudySpec(base="b", design="leave_one_out", components=parts))
    assert {cell.name: cell.reason for cell in found.rejected} == {
        "full": "c requires b=x, but b is on",
        "no_a": "c requires b=x, but b is on",
        "no_b": "c requires b=x, but b is off",
    }
    assert [arm.name for arm in found.arms] == ["b=x", "no_c"]


@pytest.mark.parametrize(
    ("values", "names"),
    [
        ((0.1, 0.5), ["m.w=0.2", "m.w=0.1", "m.w=0.5"]),
        ((0.1, 0.2), ["m.w=0.1", "m.w=0.2"]),
        ((None, (4, 8), {"kind": "a/b"}, 1e-5), ["m.w=0.2", "m.w=null", "m.w=4+8", "m.w=kind=a-b", "m.w=1e-05"]),
    ],
)
def test_a_sweep_has_the_value_of_the_base_once(values, names):
    spec = StudySpec(base="b", design="sweep", sweep=SweepSpec(path="m.w", values=values))
    assert [arm.name for arm in plan(spec, {"m": {"w": 0.2}}).arms] == names


def test_listed_arms_join_any_design():
    spec = StudySpec(base="b", arms={"more": {"x": 1}})
    assert [arm.name for arm in plan(spec).arms] == ["full", "more"]
    assert [arm.name for arm in plan(spec.model_copy(update={"design": "explicit"})).arms] == ["more"]

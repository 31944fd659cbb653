"""`import reid_lab`: instant, complete, with types, and readable without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import reid_lab as rl
from tests.report import made

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "pandas", "mlflow", "optuna", "transformers", "numpy", "matplotlib", "rich", "pydantic")


def loaded(code: str) -> list[str]:
    """Which heavy packages a process has after running this."""
    told = f"\nimport sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code + told], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    return ast.literal_eval(done.stdout.splitlines()[-1])


def test_importing_the_package_imports_nothing_else():
    assert loaded("import reid_lab as rl; dir(rl); rl.__all__") == []


def test_reading_and_comparing_needs_no_torch(tmp_path):
    runs = tmp_path / "runs"
    made.ablated(runs)
    code = f"""
import reid_lab as rl
where = {str(runs)!r}
assert len(rl.runs(runs=where)) == 9
rl.runs("ablation", runs=where)
table = rl.compare("ablation", runs=where)
table.frame, table.latex(), table.html()
rl.queries(rl.runs(runs=where).run[0], runs=where)
"""
    assert set(loaded(code)) <= {"pandas", "numpy", "pydantic"}


def test_every_public_name_is_there_and_declared():
    assert sorted(rl.__all__) == rl.__all__ == sorted(rl._HOME)
    assert set(rl.__all__) <= set(dir(rl))
    assert all(name in rl.__all__ or name.startswith("__") for name in dir(rl))
    for name in rl.__all__:
        assert callable(getattr(rl, name)), name
        assert getattr(rl, name).__doc__
    tree = ast.parse(Path(rl.__file__).read_text())
    seen = next(node for node in tree.body if isinstance(node, ast.If))
    declared = {alias.asname: f"reid_lab.{rl._HOME[alias.asname]}" for node in seen.body for alias in node.names}
    assert declared == {node.names[0].asname: node.module for node in seen.body}
    assert set(declared) == set(rl.__all__)


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="module 'reid_lab' has no attribute 'comparison'"):
        _ = rl.comparison
    with pytest.raises(ImportError):
        from reid_lab import nothing_of_this_name  # noqa: F401


def test_study_is_a_function_and_a_room_in_any_order():
    code = """
import {first}
import reid_lab as rl
from reid_lab.study.words import duration
from reid_lab import study
import reid_lab.study as room
assert study is rl.study is room and callable(study) and room.words.duration is duration
try:
    rl.study("no.yaml")
    raise SystemExit("not told")
except rl.UserError as error:
    assert "no.yaml" in str(error)
"""
    for first in ("reid_lab", "reid_lab.study.words"):
        loaded(code.format(first=first))


@pytest.mark.slow
def test_mypy_sees_the_types(tmp_path):
    file = tmp_path / "use.py"
    file.write_text(
        "import reid_lab as rl\n"
        "reveal_type(rl.run('a.yaml').test)\n"
        "reveal_type(rl.compare('a').latex())\n"
        "reveal_type(rl.study('a.yaml').name)\n"
        "reveal_type(rl.load('a').roles)\n"
        "rl.run('a.yaml', seed='x')\n"
        "rl.nothing\n"
    )
    done = subprocess.run([sys.executable, "-m", "mypy", str(file)], cwd=ROOT, capture_output=True, text=True)
    told = [line.partition(": ")[2].replace("typing.", "") for line in done.stdout.splitlines()]
    for k, kind in enumerate(("Mapping[str, float] | None", "str", "str", "tuple[str, ...]")):
        assert kind in told[k], told[k]
    assert "incompatible type" in told[4]
    assert 'Module has no attribute "nothing"' in told[5]

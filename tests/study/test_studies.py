"""The shipped studies: they load, their arms build and learn, and a thousand cells are planned in a moment."""

from __future__ import annotations

import io
import math
import time
from pathlib import Path

import pytest
from rich.console import Console

from reid_lab.architectures import ARCHITECTURES
from reid_lab.errors import SpecError
from reid_lab.rehearsal import dry_run
from reid_lab.study.load import load_study
from reid_lab.study.table import arm_rows, rejected_rows

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "studies").glob("*.yaml"))


@pytest.fixture(scope="module")
def studies():
    return {path.stem: load_study(path) for path in FILES}


def test_each_architecture_has_a_tuning_study_and_an_ablation(studies):
    tuned = {s.base.spec.model.name for s in studies.values() if s.spec.tune and len(s.plan.arms) == 1}
    compared = {s.base.spec.model.name for s in studies.values() if not s.spec.tune and len(s.plan.arms) > 1}
    assert tuned == compared == set(ARCHITECTURES)
    assert all(study.spec.seeds == (0, 1, 2) and not study.plan.rejected for study in studies.values())
    assert all(path.read_text(encoding="utf-8").startswith("# ") for path in FILES)


def test_a_tuning_study_searches_all_that_it_names(studies):
    for study in studies.values():
        for arm in study.plan.arms if study.spec.tune else ():
            found, lacking = study.space(arm)
            assert not lacking
            assert len(found.dimensions) == len(study.spec.tune.search)
            short = study.arm(arm, study.spec.tune.fidelity).spec
            assert short.train.length.epochs < study.specs[arm.name].train.length.epochs


def test_a_trial_found_from_its_arm_is_the_trial_found_from_the_base(studies):
    for study in studies.values():
        for arm in study.plan.arms if study.spec.tune else ():
            near, fidelity = study.short(arm), study.spec.tune.fidelity
            for seed, corner in enumerate(study.space(arm)[0].corners(most=8)):
                found = near.load(study.given(corner, seed))
                wanted = study.arm(arm, {**fidelity, **corner}, seed)
                assert found == wanted
                assert [*found.origin] == [*wanted.origin]


def test_the_reversal_is_searched_where_it_has_a_ramp(studies):
    study = studies["t2ireid"]
    found, _ = study.space(study.plan.arms[0])
    by_name = {dimension.name: dimension for dimension in found.dimensions}
    assert by_name["model.grl.shape"].values == ("constant", "linear", "sigmoid")
    for name in ("model.grl.start", "model.grl.ramp"):
        assert dict(by_name[name].when) == {"model.grl.shape": ("linear", "sigmoid")}
    assert not by_name["model.grl.maximum"].when


def test_ranges_of_a_reversal_that_cross_are_told_before_anything_runs(studies):
    start = "{path: model.grl.start, low: 0.0, high: 0.5}"
    with pytest.raises(SpecError, match=r"model.grl: start \(0.5\) is above maximum \(0.1\)"):
        load_study(studies["t2ireid"].path, [f"tune.search=[model.grl.maximum, {start}]"])


def test_the_table_shows_what_differs(studies):
    rows = {row[0]: row[1:] for row in arm_rows(studies["irra_ablation"])}
    assert rows == {
        "full": ("", ""),
        "no_sdm": ("model.sdm: null", ""),
        "no_id": ("model.id: null", ""),
        "no_mlm": ("model.mlm: null", ""),
    }


def test_a_thousand_cells_are_planned_in_a_moment(tmp_path):
    """1 s on a quiet machine; judged by processor time, of which other work takes none."""
    levels = {
        "id": ("model.id.weight", 0.1),
        "alignment": ("model.alignment.weight", 0.11),
        "lr": ("train.optimizer.lr", 1.1e-4),
    }
    text = f"base: {ROOT}/experiments/clip_mer.yaml\ndesign: factorial\nseeds: [0, 1, 2]\ncomponents:\n"
    for name, (path, least) in levels.items():
        text += f"  {name}: {{{', '.join(f'l{i}: {{{path}: {least * (i + 1):g}}}' for i in range(6))}}}\n"
    (tmp_path / "big.yaml").write_text(text)
    load_study(ROOT / "studies" / "clip_mer_ablation.yaml")  # imports
    begin = time.process_time()
    study = load_study(tmp_path / "big.yaml")
    rows = [*arm_rows(study), *rejected_rows(study)]
    spent = time.process_time() - begin
    assert len(rows) * len(study.spec.seeds) == 343 * 3
    assert spent < 1.0


SMALL = {
    "data.preset": "smoke",
    "data.train_identities": 24,
    "data.val_identities": 6,
    "data.test_identities": 6,
    "data.train_images": 4,
    "train.batch.size": 16,
    "runtime.threads": 1,
    "runtime.device": "cpu",
}


@pytest.mark.slow
@pytest.mark.parametrize("name", [path.stem for path in FILES])
def test_each_arm_learns_two_steps(name, studies, tmp_path, world_cache, monkeypatch):
    """With a few people only; a tuning study at its fidelity and at the first and the last corner of its space."""
    monkeypatch.setenv("REID_LAB_CACHE", str(world_cache))
    study = studies[name]
    for arm in study.plan.arms:
        patches = [{}]
        if study.spec.tune is not None:
            *_, last = corners = list(study.space(arm)[0].corners())
            patches = [{**study.spec.tune.fidelity, **corner} for corner in (corners[0], last)]
        for patch in patches:
            found = dry_run(study.arm(arm, {**patch, **SMALL}, seed=0), tmp_path, Console(file=io.StringIO()))
            assert found.losses
            assert all(math.isfinite(value) for value in found.losses.values())

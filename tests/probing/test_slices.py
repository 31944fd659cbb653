"""Slices add up to the whole; two runs are compared query by query; what cannot be sliced is told in a line."""

import json
import subprocess
import sys

import numpy as np
import pytest

from reid_lab.errors import RunError, UserError
from reid_lab.probing.failures import csv_of, slices_run
from reid_lab.probing.queries import METRICS, Queries, read_queries
from reid_lab.probing.slices import Slicing, by_label, by_task, sliced
from reid_lab.report.stats import bootstrap, shares
from tests.report.made import make


def queries(ap, pids, tasks=None, valid=None):
    ap = np.asarray(ap, dtype=float)
    return Queries(
        np.array(tasks or ["all"] * len(ap)),
        np.asarray(pids),
        np.arange(len(ap)),
        dict.fromkeys(METRICS, ap),
        np.ones(len(ap), dtype=bool) if valid is None else np.asarray(valid),
    )


@pytest.fixture
def some():
    random = np.random.default_rng(0)
    return queries(random.uniform(0, 100, 90), np.repeat(np.arange(30), 3), valid=random.random(90) > 0.1)


def test_slices_add_up_to_the_whole(some):
    colour = np.arange(90) % 4 - 1
    whole, *rows = sliced(some, [by_label("colour", colour, {0: "red"})])
    assert [row["slice"] for row in rows] == ["unknown", "red", "1", "2"]
    assert sum(row["n"] for row in rows) == whole["n"] == some.valid.sum()
    assert sum(row["n"] * row["mAP"] for row in rows) == pytest.approx(whole["n"] * whole["mAP"])
    assert whole["people"] == 30


def test_a_difference_is_that_of_the_same_queries():
    a, b = queries([10, 20, 60, 80], [0, 0, 1, 2]), queries([0, 30, 50, 90], [0, 0, 1, 2])
    left = np.array([True, True, True, False])
    whole, first, second = sliced(a, [Slicing("side", (("left", left), ("right", ~left)))], b)
    assert (whole["mAP"], whole["other"], whole["difference"]) == (42.5, 42.5, 0)
    assert (first["difference"], second["difference"]) == (pytest.approx(10 / 3), -10)
    # by person 0 and 10 for 3 queries of two people: shares 0 and 20/3, centred 10/3 + (0 - 20/3, 10 - 10/3) * 2/3
    assert shares(np.array([10.0, -10, 10]), np.array([0, 0, 1])) == pytest.approx([0, 20 / 3])
    centred = shares(np.array([10.0, -10, 10]), np.array([0, 0, 1]), centred=True)
    assert centred == pytest.approx([-10 / 9, 70 / 9])
    assert first["interval"] == pytest.approx(bootstrap(centred))
    assert np.isnan(second["interval"]).all()  # one person says nothing of others
    assert np.isnan(second["p_adjusted"])


def test_a_planted_loss_is_found_where_it_was_planted(some):
    bad = (some.pids % 3) == 0
    worse = queries(some.values["mAP"] - 30 * bad, some.pids, valid=some.valid)
    rows = {
        row["slice"]: row for row in sliced(worse, [by_label("kind", bad.astype(int), {0: "good", 1: "bad"})], some)
    }
    assert rows["bad"]["difference"] == pytest.approx(-30)
    assert rows["bad"]["interval"][1] < 0
    assert rows["good"]["difference"] == 0
    assert rows["bad"]["p_adjusted"] < 0.05 < rows["good"]["p_adjusted"]


def test_how_many_queries_people_have_does_not_widen_an_interval():
    pids = np.concatenate([[person] * (1 + 5 * (person % 2)) for person in range(40)])
    equal = np.full(len(pids), 70.0)
    low, high = bootstrap(shares(equal, pids, centred=True))
    assert (low, high) == pytest.approx((70, 70))


def test_modalities_are_the_tasks():
    asked = queries(np.arange(6), [0, 1] * 3, ["NIR"] * 2 + ["SK"] * 2 + ["NIR+SK"] * 2)
    counted, named = by_task(asked)
    assert [name for name, _ in counted.slices] == ["1", "2"]
    assert [name for name, _ in named.slices] == ["NIR", "SK", "NIR+SK"]
    assert by_task(queries([1, 2], [0, 1])) == []


def test_a_gallery_that_was_drawn_several_times_is_averaged(tmp_path):
    folder = make(tmp_path)
    with np.load(folder.results / "test.npz") as kept:
        columns = dict(kept)
    twice = {name: np.stack([columns[name]] * 2) for name in ("ap", "inp", "first_hit", "valid")}
    twice["ap"][1] = 0
    np.savez(folder.results / "test.npz", pids=columns["pids"], image_ids=columns["image_ids"], **twice)
    assert read_queries(folder).values["mAP"] == pytest.approx(50 * columns["ap"])


def test_runs_from_their_records(tmp_path):
    one, two = make(tmp_path, 0), make(tmp_path, 1)
    found = slices_run(one.run_id, tmp_path, two.run_id)
    (row,) = found["rows"]
    with np.load(one.results / "test.npz") as a, np.load(two.results / "test.npz") as b:
        assert row["difference"] == pytest.approx(100 * (a["ap"] - b["ap"]).mean())
    assert "modality alone" in found["notes"][0]
    kept = json.loads((one.path / "probing" / f"slices_{two.run_id}.json").read_text())
    assert kept["rows"][0]["difference"] == row["difference"]
    head, line = csv_of(found).splitlines()
    assert dict(zip(head.split(","), line.split(","), strict=True))["difference"] == repr(row["difference"])


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda folder: (folder.results / "test.npz").unlink(), "keeps no results of single queries"),
        (lambda folder: (folder.results / "test.npz").write_text("no"), "cannot be read"),
        (lambda folder: folder.amend({"stages": ["fit"]}), "has no finished test"),
    ],
)
def test_a_run_without_its_queries_is_refused(tmp_path, spoil, told):
    folder = make(tmp_path)
    spoil(folder)
    with pytest.raises(RunError, match=told):
        slices_run(folder.run_id, tmp_path)


def test_other_queries_unknown_slicings_and_metrics_are_refused(tmp_path):
    one, two = make(tmp_path, 0), make(tmp_path, 1)
    with np.load(two.results / "test.npz") as kept:
        columns = dict(kept)
    np.savez(two.results / "test.npz", **{**columns, "pids": columns["pids"] + 1})
    with pytest.raises(RunError, match="other queries"):
        slices_run(one.run_id, tmp_path, two.run_id)
    with pytest.raises(UserError) as caught:
        slices_run(one.run_id, tmp_path, by=("color",), metric="map")
    assert [fault.what.partition(";")[0] for fault in caught.value.faults] == [
        "--by: unknown slicing 'color'",
        "--metric: unknown metric 'map'",
    ]
    with pytest.raises(UserError, match="all alike"):
        slices_run(one.run_id, tmp_path, by=("modality",))


def test_modalities_are_sliced_without_torch(tmp_path):
    folder = make(tmp_path)
    with np.load(folder.results / "test.npz") as kept:
        columns = {f"{task}/{name}": column for task in ("NIR", "SK") for name, column in kept.items()}
    np.savez(folder.results / "test.npz", **columns)
    code = (
        "import sys; from pathlib import Path; from reid_lab.probing.failures import slices_run; "
        f"found = slices_run('{folder.run_id}', Path('{tmp_path}'), by=('modality',)); "
        "print(len(found['rows']), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "False"]

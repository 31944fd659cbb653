"""Features of other code: metrics as a brute force finds them, runs that stay, rankings, and every fault at once."""

import csv
import json

import numpy as np
import pytest

from reid_lab.tracking.runs import RunFolder
from tests.lab import Lab, records, status

OFF = ("--set", "tracking.uri=off")


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A folder with features of 30 queries and 90 gallery items of 12 people; a command line over it."""
    monkeypatch.chdir(tmp_path)
    lab = Lab(tmp_path, tmp_path, tmp_path)
    draw = np.random.default_rng(0)
    people = draw.normal(size=(12, 8))
    for name, count in (("q", 30), ("g", 90)):
        pids = draw.integers(0, 12, count)
        features = people[pids] + 1.5 * draw.normal(size=(count, 8))
        features *= draw.uniform(0.2, 5.0, (count, 1))
        save(tmp_path / f"{name}.npz", features=features, pids=pids, camids=draw.integers(0, 3, count))
    return lab


def save(path, **arrays):
    np.savez(path, **arrays)


def change(path, **arrays):
    """Rewrites keys of a file; None takes one out."""
    with np.load(path, allow_pickle=True) as held:
        kept = {**held, **arrays}
    np.savez(path, **{key: value for key, value in kept.items() if value is not None})


def measure(lab, *arguments):
    return lab.call("evaluate", "--features", "q.npz", "g.npz", "--runs", str(lab.runs), *arguments)


def brute_force(path, *, cameras, cosine=True):
    """(ap, first hit) of each query by sorting its whole gallery; 0 without a match."""
    with np.load(path / "q.npz") as q, np.load(path / "g.npz") as g:
        queries, gallery = q["features"], g["features"]
        pids, there, cams, seen = q["pids"], g["pids"], q["camids"], g["camids"]
    if cosine:
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        gallery = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    found = []
    for k, query in enumerate(queries):
        order = np.argsort(-(gallery @ query), kind="stable")
        if cameras:
            order = order[~((there[order] == pids[k]) & (seen[order] == cams[k]))]
        ranks = np.flatnonzero(there[order] == pids[k]) + 1
        found.append((float(np.mean(np.arange(1, len(ranks) + 1) / ranks)), ranks[0]) if len(ranks) else (0.0, 0))
    return np.array(found)


@pytest.mark.parametrize(
    ("arguments", "cameras", "cosine"),
    [
        ((), True, True),
        (("--metric", "inner"), True, False),
        (("--protocol", "text_to_image"), False, True),
        (("--protocol", "text_to_image", "--metric", "inner"), False, False),
    ],
)
def test_metrics_are_those_of_a_brute_force(bench, arguments, cameras, cosine):
    done = measure(bench, *OFF, *arguments)
    assert done.code == 0, done.err
    wanted = brute_force(bench.folder, cameras=cameras, cosine=cosine)
    run = bench.only
    with np.load(run.results / "test.npz") as held:
        np.testing.assert_allclose(held["ap"], wanted[:, 0], atol=1e-6)
        np.testing.assert_array_equal(held["first_hit"], wanted[:, 1])
        valid = held["valid"]
    facts = json.loads((run.results / "test.json").read_text())
    assert facts["metrics"]["mAP"] == pytest.approx(100 * wanted[valid, 0].mean(), abs=1e-4)
    assert facts["metrics"]["R1"] == pytest.approx(100 * (wanted[valid, 1] == 1).mean())
    assert facts["protocol"] == ("image_to_image" if cameras else "text_to_image")
    assert facts["metric"] == ("cosine" if cosine else "inner")
    assert any(f"{facts['metrics']['mAP']:.2f}" in line for line in done.out)


def test_the_run_is_journalled_and_the_same_command_prints_it(bench):
    first = measure(bench, *OFF, "--name", "mine")
    run = bench.only
    params = {record.name: record.value for record in records(run, "param")}
    assert (params["metric"], params["eval.protocol"], params["eval.ap"]) == ("cosine", "image_to_image", "step")
    tests = {record.name: record.value for record in records(run, "test")}
    assert tests == {f"test/{name}": value for name, value in run.summary()["test"].items()}
    assert {record.name for record in records(run, "input")} == {"queries", "gallery"}
    assert {record.name for record in records(run, "artifact")} >= {"results/test.json", "results/test.npz"}
    assert status(run) == ("finished", "")
    written = run.journal.read_bytes()

    again = measure(bench, *OFF, "--name", "mine")
    assert again.out[0] == f"{run.run_id} is finished already"
    assert again.out[1:] == first.out[-len(again.out[1:]) :]
    assert run.journal.read_bytes() == written
    (row,) = bench.call("list", "runs", "--runs", str(bench.runs)).out[1:]
    metrics = run.summary()["test"]
    assert row.split() == [run.run_id, "mine", "finished", f"{metrics['mAP']:.2f}", f"{metrics['R1']:.2f}"]


def test_identity_covers_arrays_and_options_and_no_names(bench):
    def identity(*arguments):
        before = {run.run_id for run in bench.folders()}
        assert measure(bench, *OFF, *arguments).code == 0
        return {run.run_id for run in bench.folders()} - before

    assert len(identity()) == 1
    assert identity("--name", "other") == set()
    change(bench.folder / "g.npz", names=np.array([f"{k}.jpg" for k in range(90)]), note=np.array("mine"))
    assert identity() == set()
    others = [("--metric", "inner"), ("--set", "eval.ap=trapezoid"), ("--set", "eval.removed=nothing")]
    others += [("--protocol", "text_to_image"), ("--set", "eval.rerank={k1: 5, k2: 2}")]
    for arguments in others:
        assert len(identity(*arguments)) == 1, arguments
    with np.load(bench.folder / "g.npz") as held:
        camids = held["camids"].copy()
    camids[5] += 1
    change(bench.folder / "g.npz", camids=camids)
    assert len(identity()) == 1


def test_a_run_that_was_killed_is_measured_again(bench):
    measure(bench, *OFF)
    run = bench.only
    (run.path / "summary.json").unlink()
    assert measure(bench, *OFF).code == 0
    assert bench.only.finished("test")


def test_rankings(bench):
    names = np.array([f"g/{k}.jpg" for k in range(90)])
    change(bench.folder / "g.npz", paths=names)
    assert measure(bench, *OFF, "--rankings", "out/r.csv", "--top", "4").out[-1] == "rankings out/r.csv"
    rows = list(csv.DictReader((bench.folder / "out" / "r.csv").open()))
    assert len(rows) == 30 * 4
    with np.load(bench.folder / "q.npz") as q, np.load(bench.folder / "g.npz") as g:
        a = q["features"] / np.linalg.norm(q["features"], axis=1, keepdims=True)
        b = g["features"] / np.linalg.norm(g["features"], axis=1, keepdims=True)
        gone = (q["pids"][:, None] == g["pids"]) & (q["camids"][:, None] == g["camids"])
    scores = np.where(gone, -np.inf, a @ b.T)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :4]
    assert [row["gallery"] for row in rows] == names[order].ravel().tolist()
    assert [(row["query"], row["rank"]) for row in rows[:5]] == [
        ("0", "1"),
        ("0", "2"),
        ("0", "3"),
        ("0", "4"),
        ("1", "1"),
    ]
    np.testing.assert_allclose(
        [float(row["score"]) for row in rows], np.take_along_axis(scores, order, 1).ravel(), atol=1e-5
    )

    assert measure(bench, *OFF, "--rankings", "r.json", "--top", "4").code == 0
    listed = json.loads((bench.folder / "r.json").read_text())
    assert [name for row in listed for name in row["gallery"]] == names[order].ravel().tolist()
    assert measure(bench, *OFF, "--rankings", "r.npz", "--top", "4").code == 0
    with np.load(bench.folder / "r.npz") as held:
        np.testing.assert_array_equal(held["indices"], order)
        assert held["gallery"].tolist() == names.tolist()
    assert sorted(path.name for path in bench.folder.glob(".*")) == []


def test_queries_without_labels_are_ranked_and_not_measured(bench):
    change(bench.folder / "q.npz", pids=np.full(30, -1))
    refused = measure(bench, *OFF, "--protocol", "text_to_image")
    assert refused.code == 2
    assert "no query is labelled" in refused.complaints[0]
    done = measure(bench, *OFF, "--protocol", "text_to_image", "--rankings", "r.csv")
    assert done.code == 0, done.err
    assert "nothing is measured" in done.out[0]
    assert len((bench.folder / "r.csv").read_text().splitlines()) == 1 + 30 * 90
    assert bench.folders() == []


def test_junk_is_in_no_ranking(bench):
    with np.load(bench.folder / "g.npz") as held:
        pids = held["pids"].copy()
    pids[:40] = -1
    change(bench.folder / "g.npz", pids=pids)
    assert measure(bench, *OFF, "--protocol", "text_to_image", "--rankings", "r.npz").code == 0
    with np.load(bench.folder / "r.npz") as held:
        assert set(held["indices"].ravel().tolist()) == {-1, *range(40, 90)}


def test_every_fault_is_told_at_once(bench):
    bad = np.ones((5, 4))
    bad[2, 1] = np.nan
    save(bench.folder / "q.npz", features=bad, pids=np.arange(4.0), camid=np.arange(5))
    save(bench.folder / "g.npz", feature=np.ones((3, 4)), pids=np.array([1, "a", None], dtype=object))
    refused = measure(bench, *OFF)
    assert refused.code == 2
    assert sorted(refused.complaints) == sorted(
        f"reid-lab: {line}"
        for line in (
            "q.npz: unknown key 'camid'; did you mean 'camids'?",
            "q.npz: 1 of 5 features are not finite, the first is row 2",
            "q.npz: 'pids' must be integers, not float64",
            "q.npz: 'pids' must be (5,), one for each of the features, not (4,)",
            "g.npz: 'pids' holds Python objects, which are not read; save numbers",
            "g.npz: no key 'features' in it; is 'feature' meant?",
        )
    )
    assert bench.folders() == []


@pytest.mark.parametrize(
    ("file", "arrays", "what"),
    [
        ("g", {"features": np.ones((90, 9))}, "g.npz: features are 9 wide, those of q.npz are 8"),
        ("g", {"features": np.ones((90, 8, 2))}, "g.npz: 'features' must be (n, D)"),
        ("g", {"features": np.ones((0, 8)), "pids": np.zeros(0, int), "camids": None}, "both above 0, not (0, 8)"),
        ("q", {"features": np.array([["a"] * 8] * 30)}, "q.npz: 'features' must be numbers, not <U1"),
        ("q", {"features": np.ones((30, 8), complex)}, "must be numbers, not complex128"),
        ("q", {"features": np.zeros((30, 8))}, "q.npz: 30 of 30 features are zero, the first is row 0"),
        ("q", {"features": np.array([None] * 30)}, "q.npz: 'features' holds Python objects"),
        ("q", {"pids": None}, "q.npz: no key 'pids' in it (it has features, camids)"),
        ("q", {"names": np.arange(29)}, "q.npz: 'names' must be (30,)"),
        ("g", {"camids": None}, "camids"),
    ],
)
def test_refused(bench, file, arrays, what):
    change(bench.folder / f"{file}.npz", **arrays)
    refused = measure(bench, *OFF, "--protocol", "image_to_image")
    assert refused.code == 2
    assert any(what in line for line in refused.complaints), refused.complaints
    assert bench.folders() == []


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("--protocol", "image_to_imge"), "did you mean 'image_to_image'?"),
        (("--set", "eval.app=step"), "eval.app"),
        (("--set", "eval.removed=cameras"), "did you mean 'camera'?"),
        (("--set", "metric=inner"), "metric"),
        (("--set", "eval.queries=[rgb]"), "features are computed already"),
        (("--data", "synthetic"), "--data is for a RUN"),
        (("--rankings", "r.txt"), ".csv, .json, .npz"),
        (("--metric", "euclidean"), "cosine"),
        (("0123",), "not both"),
    ],
)
def test_options_that_are_refused(bench, arguments, what):
    refused = measure(bench, *OFF, *arguments)
    assert refused.code == 2
    assert any(what in line for line in refused.complaints), refused.complaints
    assert not bench.runs.exists()


def test_files_that_are_none(bench):
    (bench.folder / "g.npz").write_text("no archive")
    (bench.folder / "q.npz").unlink()
    refused = measure(bench, *OFF)
    assert [line.removeprefix("reid-lab: ") for line in refused.complaints] == [
        "q.npz: no such file",
        "g.npz: cannot be read (no npz file: numpy.savez writes one)",
    ]
    np.save(bench.folder / "q.npy", np.ones(3))
    (bench.folder / "q.npy").rename(bench.folder / "q.npz")
    assert "q.npz: cannot be read" in measure(bench, *OFF).complaints[0]
    neither = bench.call("evaluate")
    assert "give a RUN, or --features" in neither.complaints[0]
    assert "are for --features" in bench.call("evaluate", "0123", "--metric", "inner").complaints[0]


def test_a_run_is_ranked_and_tested_by_another_protocol(lab):
    assert lab.run("train.length={steps: 2}", "train.batch.size=8", "eval.select_on=last").code == 0
    arguments = ("evaluate", lab.only.run_id, "--runs", str(lab.runs))
    assert lab.call(*arguments, "--rankings", "r.csv", "--top", "3").code == 0
    rows = list(csv.DictReader((lab.folder / "r.csv").open()))
    assert len(rows) == 12 * 3
    with np.load(lab.only.results / "test.npz") as held:
        first = [row["gallery"] for row in rows[::3]]
        moments = {int(name.partition(":")[2].partition(":")[0]) for name in first}
        assert moments <= set(held["image_ids"].tolist())
    other = lab.call(*arguments, "--protocol", "image_to_text")
    assert other.code == 0, other.err
    (one, two) = (r.value for r in records(lab.only, "note") if r.name == "look_at_test")
    assert (one["protocol"], two["protocol"]) == ("text_to_image", "image_to_text")
    assert one["metrics"] == lab.only.summary()["test"]
    assert "did you mean" in lab.call(*arguments, "--protocol", "image_to_txt").complaints[0]
    assert "did you mean" in lab.call(*arguments, "--data", "synthtic").complaints[0]
    folder = lab.written("png")
    moved = lab.call(
        *arguments, "--data", "cuhk_pedes", "--set", f"data.root={folder}", "--set", "data.image_size=[32,16]"
    )
    assert moved.code == 0, moved.err
    last = [r.value for r in records(lab.only, "note") if r.name == "look_at_test"][-1]
    assert last["metrics"] == pytest.approx(one["metrics"])
    assert last["data"] != one["data"]


def test_features_are_mirrored(bench):
    from reid_lab.tracking.mlflow_store import Store
    from reid_lab.tracking.replay import unsent

    Store.of(bench.runs).client()  # creating its tables can take longer on a busy machine than a run waits
    done = measure(bench)
    assert done.code == 0, done.err
    assert not unsent(RunFolder(bench.only.path).path, Store.of(bench.runs))
    assert any(line.startswith("mlflow   http") for line in done.out)

"""What may stand in one column, and the numbers that stand there."""

import math

import numpy as np
import pytest
from scipy import stats as reference

from reid_lab.errors import UserError
from reid_lab.report.comparison import compare
from reid_lab.report.queries import by_identity
from reid_lab.report.reading import read_run, tampered
from reid_lab.report.selection import select
from reid_lab.report.table import grid
from tests.report.made import ablated, make


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


def compared(runs, *words, by=(), **given):
    return compare(select(words, runs, by=by)[0], **given)


def test_differences_are_those_of_scipy(runs):
    ablated(runs)
    found = compared(runs, "ablation", metrics=["mAP"], correction="none")
    base, worse, _ = found.lines
    one = worse.against["mAP"]
    expected = reference.ttest_rel(worse.values["mAP"], base.values["mAP"])
    interval = expected.confidence_interval(0.95)
    assert one.p == pytest.approx(expected.pvalue)
    assert (one.low, one.high) == pytest.approx((interval.low, interval.high))
    assert one.difference == pytest.approx(worse.mean("mAP") - base.mean("mAP"))
    assert one.pairs
    assert base.against == {}


def test_p_values_are_adjusted_over_the_groups_of_a_metric(runs):
    ablated(runs)
    raw = [line.against["mAP"].p for line in compared(runs, "ablation", metrics=["mAP"]).lines[1:]]
    holm = [line.against["mAP"].adjusted for line in compared(runs, "ablation", metrics=["mAP"]).lines[1:]]
    bh = [line.against["mAP"].adjusted for line in compared(runs, "ablation", correction="bh").lines[1:]]
    assert holm == pytest.approx([min(1, 2 * raw[0]), max(2 * raw[0], raw[1])])
    assert bh == pytest.approx(reference.false_discovery_control(raw))


def test_seeds_that_do_not_pair_are_compared_by_welch(runs):
    for seed in range(3):
        make(runs, seed)
    for seed in range(4):
        make(runs, seed, name="b", level=0.4, spec={"model.mer.rank": 8})
    found = compared(runs, "irra", "b", metrics=["mAP"])
    base, other = found.lines
    expected = reference.ttest_ind(other.values["mAP"], base.values["mAP"], equal_var=False)
    assert other.against["mAP"].p == pytest.approx(expected.pvalue)
    assert not other.against["mAP"].pairs
    assert "where seeds do not pair with the baseline's, the interval is Welch's" in found.notes


def test_a_baseline_is_chosen_by_name(runs):
    ablated(runs)
    found = compared(runs, "ablation", baseline="no_mer")
    assert [bool(line.against) for line in found.lines] == [True, False, True]
    assert found.lines[0].against["mAP"].difference > 10
    with pytest.raises(UserError, match=r"unknown baseline 'no_mir'; allowed: .*did you mean 'no_mer'"):
        compared(runs, "ablation", baseline="no_mir")


def test_a_single_seed_concludes_nothing(runs):
    make(runs, 0), make(runs, 0, name="b", level=0.3, spec={"model.mer.rank": 8})
    found = compared(runs, "irra", "b")
    assert "a single seed: nothing can be concluded about new training seeds" in found.notes
    one = found.lines[1].against["mAP"]
    assert one.difference < -10
    assert all(map(math.isnan, (one.low, one.high, one.p, one.adjusted, one.effect)))
    assert [column.title for column in grid(found).columns if column.title in ("g", "p")] == []


def test_the_wider_interval_is_told_where_people_matter(runs):
    ablated(runs)
    found = compared(runs, "ablation", metrics=["mAP"])
    one = found.lines[1].against["mAP"]
    assert one.wide[0] <= one.low
    assert one.wide[1] >= one.high


def test_trained_models_are_compared_over_queries_when_asked(runs):
    ablated(runs)
    assert math.isnan(compared(runs, "ablation").lines[1].against["mAP"].trained[0])
    p, low, high = compared(runs, "ablation", queries=True).lines[1].against["mAP"].trained
    assert p < 0.001
    assert low < compared(runs, "ablation").lines[1].against["mAP"].difference < high
    titles = [column.title for column in grid(compared(runs, "ablation", queries=True)).columns]
    assert "mAP, these trained models only" in titles


def test_the_power_hint_is_the_half_width(runs):
    make(runs, 0), make(runs, 1), make(runs, 2)
    for seed in range(3):
        make(runs, seed, name="b", noise=5, spec={"model.mer.rank": 8})
    found = compared(runs, "irra", "b", metrics=["mAP"])
    one = found.lines[1].against["mAP"]
    hint = next(note for note in found.notes if note.startswith("with 3 seeds"))
    assert hint.startswith(f"with 3 seeds a difference under {(one.high - one.low) / 2:.2f} mAP cannot be shown")


@pytest.mark.parametrize(
    ("other", "line"),
    [
        ({"spec": {"eval.protocol": "image_to_image"}}, "protocols differ in eval.protocol: text_to_image in "),
        ({"spec": {"eval.queries": ["caption"]}}, "protocols differ in eval.queries: null in "),
        ({"spec": {"eval.gallery.shots": 1}}, "protocols differ in eval.gallery: null in "),
        ({"digest": "e" * 64}, "data differ: synthetic dddddddddddd in "),
        (
            {"digest": "e" * 64, "spec": {"data.preset": "hard"}},
            "data differ in data.preset: synthetic dddddddddddd in ",
        ),
        ({"version": 2}, "metrics versions differ: 1 in "),
    ],
)
def test_what_is_measured_otherwise_is_refused(runs, other, line):
    first, second = make(runs, 0), make(runs, 0, name="b", **other)
    with pytest.raises(UserError) as error:
        compared(runs, "irra", "b")
    (fault,) = error.value.faults
    assert line in str(fault)
    assert first.run_id in str(fault)
    assert second.run_id in str(fault)


def test_runs_of_a_group_differ_in_the_seed_only(runs):
    make(runs, 0), make(runs, 1, spec={"model.mer.rank": 8})
    with pytest.raises(UserError) as error:
        compared(runs, "irra", by=("architecture",))
    assert str(error.value) == (
        "the runs of 'irra' differ in more than the seed: model.mer.rank (4, 8); --by PATH tells them apart"
    )


def test_nan_is_refused(runs):
    folder = make(runs, 0, metrics={"mAP": math.nan})
    with pytest.raises(UserError, match=f"{folder.run_id}: test/mAP is nan"):
        compared(runs, "irra")


def test_an_unknown_metric_names_what_there_is(runs):
    folder = make(runs, 0)
    with pytest.raises(UserError) as error:
        compared(runs, "irra", metrics=["R2"])
    assert str(error.value) == f"{folder.run_id}: has no metric 'R2'; it has test/R1, test/R5, test/mAP, val/mAP"


def test_val_is_that_of_the_selected_step(runs):
    make(runs, 2)
    assert compared(runs, "irra", metrics=["val/mAP"]).lines[0].values["val/mAP"] == (42.0,)


def test_weights_selected_on_test_and_fitted_on_more_carry_marks(runs):
    make(runs, 0, spec={"eval.select_on": "test"}), make(runs, 0, name="b", spec={"train.fit_on": "train+val"})
    found = compared(runs, "irra", "b")
    assert [line.marks for line in found.lines] == [("†",), ("‡",)]
    assert [row[0].text for row in grid(found).rows] == ["irra †", "b ‡"]
    assert {note[0] for note in found.notes if note[0] in "†‡"} == {"†", "‡"}


def test_other_code_and_devices_are_told(runs):
    make(runs, 0), make(runs, 1)
    other = make(runs, 2)
    (other.path / "environment.json").write_text('{"commit": "ab", "device": "cuda", "packages": {"torch": "2.13.0"}}')
    (make(runs, 3).path / "environment.json").write_text('{"commit": "ab", "device": "cpu"}')
    notes = compared(runs, "irra").notes
    assert "computed with different code: commits ab, cccccccccccc" in notes
    assert "computed with different devices: cpu, cuda" in notes
    assert not any("torch" in note for note in notes)


def test_a_damaged_record_is_told(runs):
    folder = make(runs, 0)
    text = folder.journal.read_text().replace('"name":"test/mAP"', '"name":"test/mAP')
    folder.journal.write_text(text)
    with pytest.raises(UserError, match="is damaged"):
        compared(runs, "irra")


def test_queries_explain_their_metric_or_are_not_used(runs):
    folder = make(runs, 0)
    run = read_run(folder)
    for metric in ("mAP", "R1", "R5"):
        shares, _ = by_identity([run], metric)
        assert shares.shape == (1, 20)
        assert shares.mean() == pytest.approx(run.metric(metric))
    assert by_identity([run], "val/mAP") is None
    other = read_run(make(runs, 1, metrics={"mAP": 99.0}))
    assert by_identity([other], "mAP") is None
    assert by_identity([read_run(make(runs, 3, finished=False))], "mAP") is None


def tasked(runs, seed, metrics, **precisions):
    """A run whose tasks have queries of these average precisions."""
    folder = make(runs, seed, metrics=metrics)
    columns = {}
    for task, ap in precisions.items():
        task = task.replace("_", "+")
        n = len(ap)
        columns |= {f"{task}/pids": np.arange(n), f"{task}/valid": np.ones(n, bool), f"{task}/ap": np.array(ap)}
    np.savez(folder.results / "test.npz", **columns)
    return read_run(folder)


def test_queries_of_several_tasks_are_told_apart(runs):
    run = tasked(runs, 0, {"a/mAP": 30.0, "mAP": 40.0}, a=[0.3, 0.3], b=[0.4, 0.6, 0.5])
    assert by_identity([run], "a/mAP")[0].mean() == pytest.approx(30.0)
    shares, _ = by_identity([run], "mAP")
    assert shares[0].tolist() == pytest.approx([3 * (15 / 2 + 20 / 3), 3 * (15 / 2 + 30 / 3), 3 * 25 / 3])


def test_averages_of_averages_and_the_bare_task_are_known(runs):
    averaged = {"ONE/mAP": 20.0, "TWO/mAP": 50.0, "mAP": 35.0}
    run = tasked(runs, 0, averaged, NIR=[0.1, 0.1], CP=[0.3, 0.3], NIR_CP=[0.4, 0.6])
    for metric, value in averaged.items():
        assert by_identity([run], metric)[0].mean() == pytest.approx(value)
    changing = tasked(runs, 1, {"mAP": 20.0, "SC/mAP": 60.0}, CC=[0.1, 0.3], SC=[0.5, 0.7])
    assert by_identity([changing], "mAP")[0].tolist()[0] == pytest.approx([10.0, 30.0])
    assert by_identity([changing], "SC/mAP")[0].mean() == pytest.approx(60.0)
    assert by_identity([tasked(runs, 2, {"mAP": 41.0}, CC=[0.1], SC=[0.5])], "mAP") is None


def test_results_that_are_not_the_recorded_ones_are_noticed(runs):
    folder = make(runs, 0)
    assert tampered(read_run(folder)) == ""
    (folder.results / "test.json").write_text("{}")
    assert tampered(read_run(folder)) == "results/test.json is not the file that the journal recorded"


def test_the_same_difference_in_every_seed_is_told(runs):
    for seed in range(2):
        level = {"R1": 40.0 + seed, "R5": 60.0, "R10": 70.0, "mAP": 50.0 + seed, "mINP": 30.0}
        make(runs, seed, metrics=level)
        make(runs, seed, name="b", spec={"model.mer.rank": 8}, metrics={**level, "R1": level["R1"] + 1.25})
    found = compared(runs, "irra", "b", metrics=["R1", "mAP"])
    one = found.lines[1].against["R1"]
    assert one.difference == pytest.approx(1.25)
    assert math.isnan(one.low)
    assert math.isnan(one.adjusted)
    assert f"the same difference in every seed: nothing can be concluded (R1 of {found.lines[1].group.name})" in (
        found.notes
    )
    assert found.lines[1].against["mAP"].p == 1.0

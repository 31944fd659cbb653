"""What figures show equals what is computed by hand from the made runs."""

import math
import re

import numpy as np
import pytest
from scipy import stats as scipy

from reid_lab.errors import UserError
from reid_lab.report.figures.compared import pareto
from reid_lab.report.figures.matrices import matrix
from tests.report.drawable import EXAMPLES, OMNI, add, curved, drawn, omni, swept, trial, tuned
from tests.report.made import ablated, make, study, world


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


def half(values):
    """Half of the 95% t interval of a mean."""
    return scipy.t.ppf(0.975, len(values) - 1) * scipy.sem(values)


def of(rows, **wanted):
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def hits(seed, level, noise):
    ap = world(1000 * noise + seed, level=level)
    return np.where(ap > 0.5, 1, np.where(ap > 0.3, 4, 20))


def test_cmc_is_the_share_of_queries_that_hit_by_rank(runs):
    ablated(runs)
    rows = drawn("cmc", ["ablation"], runs).rows
    for rank in (1, 3, 4, 19, 20):
        rates = [100 * np.mean(hits(seed, 0.4, 2) <= rank) for seed in range(3)]
        assert [row["value"] for row in of(rows, group="no_mer", rank=rank)[:3]] == pytest.approx(rates)
        (mean,) = of(rows, group="no_mer", rank=rank, seed="mean")
        assert mean["value"] == pytest.approx(np.mean(rates))
        assert mean["high"] - mean["value"] == pytest.approx(half(rates), abs=1e-9)
    assert len(rows) == 3 * 20 * 4


def test_cmc_of_a_task_is_that_of_its_queries(runs):
    folder = make(runs, metrics={"CC/R1": 50.0, "CC/R5": 75.0, "R1": 50.0, "R5": 75.0})
    first = np.array([1, 1, 3, 8])
    columns = {"pids": np.arange(4), "ap": first / 9, "inp": first / 9, "first_hit": first, "valid": np.ones(4, bool)}
    np.savez_compressed(folder.results / "test.npz", **{f"CC/{name}": column for name, column in columns.items()})
    rows = drawn("cmc", ["irra"], runs, options={"task": "CC", "ranks": "8"}).rows
    assert [row["value"] for row in of(rows, seed=0)] == [50, 50, 75, 75, 75, 75, 75, 100]


def test_one_seed_has_no_band_and_says_so(runs):
    make(runs)
    figure = drawn("cmc", ["irra"], runs)
    assert "A single seed: no band; nothing can be concluded" in figure.caption
    assert not figure.figure.axes[0].collections
    assert all(math.isnan(row["low"]) for row in of(figure.rows, seed="mean"))


def test_several_seeds_have_a_band(runs):
    for seed in range(3):
        make(runs, seed)
    figure = drawn("cmc", ["irra"], runs)
    assert len(figure.figure.axes[0].collections) == 1
    assert "Band: 95% t interval of the mean over 3 seeds" in figure.caption


def test_a_caption_names_the_group_of_one_seed_and_the_mark_of_test(runs):
    make(runs, 0, name="a", spec={"eval.select_on": "test"})
    make(runs, 0, name="b")
    make(runs, 1, name="b")
    caption = drawn("cmc", ["a", "b"], runs).caption
    assert "a: a single seed, no band" in caption
    assert "Selected on TEST" in caption


def test_forest_holds_paired_differences(runs):
    ablated(runs)
    figure = drawn("forest", ["ablation"], runs, metrics=["mAP"])
    (row,) = of(figure.rows, group="no_mer")
    gaps = [100 * (world(2000 + seed, level=0.4).mean() - world(1000 + seed, level=0.6).mean()) for seed in range(3)]
    test = scipy.ttest_1samp(gaps, 0)
    assert row["difference"] == pytest.approx(np.mean(gaps))
    assert (row["low"], row["high"]) == pytest.approx(tuple(test.confidence_interval(0.95)))
    assert row["p"] == pytest.approx(test.pvalue)
    assert row["adjusted p"] >= row["p"]
    assert {line["group"] for line in figure.rows} == {"no_mer", "mlm=deep"}


def test_forest_of_single_seeds_has_no_interval(runs):
    ablated(runs, seeds=1)
    figure = drawn("forest", ["ablation"], runs, metrics=["mAP"])
    assert "A single seed: no interval" in figure.caption
    assert all(math.isnan(row["low"]) for row in figure.rows)


def test_learning_has_each_seed_and_the_mean_where_all_have_a_value(runs):
    for seed in range(2):
        folder = make(runs, seed, spec={"eval.every.epochs": 0.5, "train.length.epochs": 3})
        if seed:
            add(folder, ("val", "val/mAP", 30, 50.0))  # the other seed stopped early
    rows = drawn("learning", ["irra"], runs, metrics=["mAP"]).rows
    assert [(row["step"], row["epoch"], row["value"]) for row in of(rows, seed=1)] == [
        (10, 0.5, 41.0),
        (20, 1.0, 30.0),
        (30, 1.5, 50.0),
    ]
    assert [(row["step"], row["value"]) for row in of(rows, seed="mean")] == [(10, 40.5), (20, 30.0)]


def test_learning_is_against_steps_where_epochs_are_not_told(runs):
    make(runs)
    figure = drawn("learning", ["irra"], runs, metrics=["loss/sdm"])
    assert [row["epoch"] for row in figure.rows] == [None] * 20
    assert [row["value"] for row in figure.rows] == [1.0 / (1 + step) for step in range(20)]
    assert figure.figure.axes[0].get_xlabel() == "step"


def test_nan_leaves_a_gap_and_is_told(runs):
    add(make(runs), ("val", "val/mAP", 30, float("nan")))
    figure = drawn("learning", ["irra"], runs, metrics=["mAP"])
    assert math.isnan(figure.rows[-1]["value"])
    assert "1 values are NaN and leave gaps." in figure.caption


def test_a_test_metric_that_is_nan_is_refused(runs):
    make(runs, metrics={"mAP": float("nan")})
    with pytest.raises(UserError, match="test/mAP is nan"):
        drawn("cost", ["irra"], runs, metrics=["mAP"])


def test_decoupling_is_averaged_within_an_epoch(runs):
    for arm, level in (("grl", 0.0), ("none", 5.0)):
        for seed in range(2):
            curved(runs, arm, seed, level)
    rows = drawn("decoupling", ["irra"], runs, by=["model.adversary"]).rows
    own = of(rows, group="model.adversary=none", seed=1)
    assert [(row["epoch"], row["value"]) for row in own] == [(0.5, pytest.approx(6.025)), (1.5, pytest.approx(6.125))]
    mean = of(rows, group="model.adversary=grl", seed="mean")
    assert [row["value"] for row in mean] == pytest.approx([0.525, 0.625])


def test_an_arm_without_the_diagnostic_has_no_line(runs):
    curved(runs, "grl", 0)
    make(runs, 0, spec={"eval.every.epochs": 1, "train.length.epochs": 2, "model.adversary": "off"})
    figure = drawn("decoupling", ["irra"], runs, by=["model.adversary"])
    assert {row["group"] for row in figure.rows} == {"model.adversary=grl"}
    assert "Not recorded by every seed, hence not drawn: model.adversary=off (cos matched)." in figure.caption


def test_sensitivity_is_in_the_order_of_the_values(runs):
    swept(runs)
    figure = drawn("sensitivity", ["irra"], runs, metrics=["mAP"])
    assert [row["value"] for row in figure.rows] == [2, 8, 32]
    values = [100 * world(2000 + seed, level=0.4).mean() for seed in range(3)]
    assert figure.rows[0]["mean"] == pytest.approx(np.mean(values))
    assert figure.rows[0]["mean"] - figure.rows[0]["low"] == pytest.approx(half(values))
    assert figure.figure.axes[0].get_xscale() == "log"


def test_choices_have_bars_and_no_line(runs):
    for choice in ("a", "b"):
        for seed in range(2):
            make(runs, seed, spec={"model.neck": choice})
    axes = drawn("sensitivity", ["irra"], runs, metrics=["mAP"]).figure.axes[0]
    assert axes.lines[0].get_linestyle() == "None"
    assert sorted(text.get_text() for text in axes.get_xticklabels()) == ["a", "b"]


def test_cost_holds_means_and_the_front(runs):
    for name, level, parameters in (("small", 0.4, 1e6), ("large", 0.6, 3e6), ("worse", 0.3, 2e6)):
        for seed in range(2):
            make(runs, seed, name=name, level=level, summary={"parameters": parameters})
    words = ["small", "large", "worse"]
    rows = drawn("cost", words, runs, metrics=["mAP"], options={"costs": "parameters"}).rows
    assert [(row["cost"], row["pareto"]) for row in rows] == [(1e6, True), (3e6, True), (2e6, False)]
    assert rows[0]["mean"] == pytest.approx(np.mean([100 * world(seed, level=0.4).mean() for seed in range(2)]))


def test_pareto_keeps_ties_and_drops_what_is_beaten():
    assert pareto([(1, 5), (1, 5), (1, 4), (2, 5), (2, 6)]) == [True, True, False, False, True]


def test_modalities_stand_at_anchor_and_added(runs):
    omni(runs)
    rows = drawn("modalities", ["irra"], runs).rows
    places = {row["query"]: (row["anchor"], row["column"], row["mean"]) for row in rows}
    assert places["SK"] == ("SK", "+ SK", OMNI["SK"] + 0.5)
    assert places["NIR+TEXT"] == ("NIR", "+ TEXT", OMNI["NIR+TEXT"] + 0.5)
    assert places["CP+SK+TEXT"] == ("CP", "all but NIR", OMNI["CP+SK+TEXT"] + 0.5)
    assert places["TEXT+NIR+CP+SK"] == ("TEXT", "all", OMNI["TEXT+NIR+CP+SK"] + 0.5)
    assert len(rows) == len(set(places.values())) == 32


def test_transfer_holds_means_over_seeds_and_leaves_what_was_not_measured(runs):
    figure = drawn("transfer", EXAMPLES["transfer"](runs), runs)
    found = {(row["trained on"], row["tested on"]): row for row in figure.rows}
    assert found["market1501", "msmt17"]["mean"] == 10.5
    assert found["market1501", "msmt17"]["deviation"] == pytest.approx(math.sqrt(0.5))
    assert found["market1501", "msmt17"]["seeds"] == 2
    assert found["msmt17", "msmt17"]["seeds"] == 1
    assert math.isnan(found["msmt17", "msmt17"]["deviation"])
    assert math.isnan(found["msmt17", "market1501"]["mean"])
    assert len(figure.figure.axes[0].texts) == 3


def test_trials_are_read_with_their_knobs(runs):
    tuned(runs)
    rows = drawn("parallel", ["tuned"], runs).rows
    assert {row["knob"] for row in rows} == {"train.optimizer.lr", "model.mer.rank", "model.mlm"}
    found = {row["trial"]: (row["score"], row["pruned"]) for row in rows}
    assert found == {0: (40.0, False), 1: (41.0, False), 2: (42.0, False), 3: (43.0, True)}
    assert [row["value"] for row in of(rows, knob="model.mlm")] == [None, "deep", "deep", None]


def test_the_best_trial_is_no_pruned_one(runs):
    tuned(runs)
    figure = drawn("slices", ["tuned"], runs)
    axes = figure.figure.axes[0]
    best = [line for line in axes.lines if line.get_zorder() == 4]
    assert [line.get_ydata()[0] for line in best] == [42.0]
    assert "4 trials of tuned, 1 of them pruned" in figure.caption


def test_a_trial_that_is_nan_or_unfinished_is_left_out_and_told(runs):
    tuned(runs)
    trial(runs, 4, float("nan"), model__mer__rank=2)
    broken = trial(runs, 5, 50.0, model__mer__rank=2)
    text = broken.journal.read_text()
    broken.journal.write_text(re.sub(r'\{"kind":"stop".*\n', "", text))
    figure = drawn("parallel", ["tuned"], runs)
    assert {row["trial"] for row in figure.rows} == {0, 1, 2, 3}
    assert "1 trials without a finite val/mAP are left out" in figure.caption
    assert "Left out: 1 trials of tuned that neither finished nor were pruned" in figure.caption


def test_each_tuned_arm_has_a_panel(runs):
    tuned(runs)
    study(runs, {"no_mlm": [None], "full": [None]}, name="tuned")
    for number in range(2):
        trial(runs, number, 30.0 + number, arm="no_mlm", model__mer__rank=2**number)
    figure = drawn("parallel", ["tuned"], runs)
    assert {row["arm"] for row in figure.rows} == {"full", "no_mlm"}
    assert [axes.get_title() for axes in figure.figure.axes[:2]] == ["no_mlm", "full"]


def test_a_matrix_leaves_absent_cells_empty():
    values = {("a", "x"): 1.0, ("a", "y"): math.nan, ("b", "x"): 2.5}
    made = matrix("transfer", ["a", "b"], ["x", "y"], values, caption="sources × targets")
    assert [row["value"] for row in made.rows][::2] == [1.0, 2.5]
    assert all(math.isnan(row["value"]) for row in made.rows[1::2])
    assert [text.get_text() for text in made.figure.axes[0].texts] == ["1.0", "2.5"]

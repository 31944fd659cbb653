"""What words choose which runs, in which groups."""

import pytest

from reid_lab.errors import UserError
from reid_lab.report.selection import select
from tests.report.made import ablated, make, study


@pytest.fixture
def runs(tmp_path):
    return tmp_path / "runs"


def names(groups):
    return {group.name: list(group.seeds) for group in groups}


def test_a_study_is_chosen_by_its_file_and_by_its_name(runs):
    file = ablated(runs)
    expected = {"full": [0, 1, 2], "no_mer": [0, 1, 2], "mlm=deep": [0, 1, 2]}
    for word in (str(file), "ablation"):
        groups, told = select([word], runs)
        assert names(groups) == expected
        assert told == []
    assert groups[1].levels == {"mer": "off", "mlm": "on"}


def test_two_studies_may_share_arms(runs):
    ablated(runs)
    study(runs, {"full": [make(runs, 0, name="b", spec={"model.mer.rank": 2})]}, name="other")
    groups, _ = select(["ablation", "other"], runs)
    assert names(groups)["other/full"] == [0]
    assert len(groups) == 4


def test_an_unfinished_study_says_what_it_lacks(runs):
    study(runs, {"full": [make(runs, 0), None], "x": [None, None]})
    groups, told = select(["ablation"], runs)
    assert names(groups) == {"full": [0]}
    assert told == ["study ablation is not finished: full lacks 1 of 2 seeds; x lacks 2 of 2 seeds"]


def test_an_experiment_gives_groups_of_one_spec(runs):
    for seed in (1, 0):
        make(runs, seed)
        make(runs, seed, spec={"model.mer.rank": 8})
        make(runs, seed, spec={"model.mer.rank": 8, "train.optimizer.lr": 0.1})
    groups, told = select(["irra"], runs)
    assert sorted(names(groups).values()) == [[0, 1]] * 3
    assert {group.name for group in groups} >= {"irra"}
    assert told == []


def test_a_run_is_chosen_by_id_and_by_its_beginning(runs):
    folder = make(runs, 0)
    make(runs, 1)
    for word in (folder.run_id, folder.run_id[:8]):
        groups, _ = select([word], runs)
        assert [run.run_id for group in groups for run in group.runs] == [folder.run_id]


def test_the_latest_finished_attempt_counts(runs):
    make(runs, 0), make(runs, 0, attempt=2), make(runs, 0, attempt=3, finished=False), make(runs, 1, finished=False)
    groups, told = select(["irra"], runs)
    assert [run.folder.attempt for run in groups[0].runs] == [2]
    assert told == ["left out: 1 of irra without a finished test"]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["architecture=irra"], 4),
        (["architecture=irra", "model.mer.rank=8"], 1),
        (["model.mer.rank=8", "model.mer.rank=2"], 2),
        (["data=synthetic", "seed=0"], 4),
        (["train.optimizer.lr=1e-3"], 5),
        (["model.mlm=null"], 5),
        (["model.mer=null"], 1),
        (["model.mer=on", "architecture=clip_mer"], 1),
        (["irra", "model.mer.rank=8"], 1),
    ],
)
def test_filters_narrow(runs, words, expected):
    make(runs, 0), make(runs, 1), make(runs, 0, spec={"model.mer.rank": 8})
    make(runs, 0, spec={"model.mer.rank": ..., "model.mer": None})
    make(runs, 0, name="c", spec={"model.name": "clip_mer", "model.mer.rank": 2})
    groups, _ = select(words, runs)
    assert sum(len(group.runs) for group in groups) == expected


@pytest.mark.parametrize(
    ("words", "by", "line"),
    [
        (["irrra"], (), "no study, experiment or run 'irrra'; did you mean 'irra'?"),
        (["zzz"], (), "no study, experiment or run 'zzz'; `reid-lab list runs` shows what there is"),
        (["gone.yaml"], (), "gone.yaml: no such file"),
        (
            ["model.mar.rank=4"],
            (),
            "filter 'model.mar.rank': no run here has such a field; did you mean 'model.mer.rank'?",
        ),
        (["model.mer.rank=5"], (), "nothing that is finished matches model.mer.rank=5"),
        (["irra"], ("model.mar",), "--by 'model.mar': no run here has such a field"),
        (["irra"], ("arm",), "unknown grouping here 'arm'"),
    ],
)
def test_what_chooses_nothing_is_told(runs, words, by, line):
    make(runs, 0)
    with pytest.raises(UserError) as error:
        select(words, runs, by=by)
    assert line in str(error.value)


def test_an_ambiguous_beginning_names_the_runs(runs):
    found: dict[str, list[str]] = {}
    for seed in range(17):
        run_id = make(runs, seed).run_id
        found.setdefault(run_id[0], []).append(run_id)
    letter, ids = next((letter, ids) for letter, ids in found.items() if len(ids) > 1)
    with pytest.raises(UserError, match=f"'{letter}' is ambiguous: {', '.join(sorted(ids))}"):
        select([letter], runs)


def test_an_unfinished_run_is_named(runs):
    folder = make(runs, 0, finished=False)
    with pytest.raises(UserError, match=f"{folder.run_id}: is not finished; the command that began it goes on with it"):
        select([folder.run_id], runs)


@pytest.mark.parametrize(
    ("summary", "why"),
    [
        ({"pruned": "the median was better"}, "was pruned (the median was better) and never tested"),
        ({"imported": {"source": "x"}}, "was imported, and has no test of its own"),
        ({"stages": ["fit", "test"], "test": None}, "measured nothing on test"),
    ],
)
def test_a_run_without_a_test_says_why(runs, summary, why):
    folder = make(runs, 0, finished=False, summary=summary)
    with pytest.raises(UserError) as error:
        select([folder.run_id], runs)
    assert str(error.value) == f"{folder.run_id}: {why}"


def test_all_wrong_words_are_told_at_once(runs):
    make(runs, 0)
    with pytest.raises(UserError) as error:
        select(["nothing", "gone.yaml"], runs)
    assert len(error.value.faults) == 2

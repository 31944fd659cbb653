"""Figures of runs: drawn, written as PNG, PDF and CSV, and checked like tables.

`KINDS` are those that are drawn from records: journals, summaries, per-query results. To add one: write a function
`Asked -> Drawn` (see `kind.py` and `style.py`; draw inside `with styled():`, raise `Lacking` with one line where the
runs do not hold what is needed), add a line below, a section in docs/figures.md, and rows to the contract test. Its
module is imported when it is drawn, so that listing the kinds needs neither matplotlib nor torch.

Kinds that need weights or data belong to rooms of their own: a room keeps a mapping `KINDS` like this one, with
`weights=True`, and `cli/figures.py` joins them.
"""

from __future__ import annotations

from collections.abc import Mapping

from reid_lab.report.figures.kind import Draw, Kind


def _cmc() -> Draw:
    from reid_lab.report.figures.curves import cmc

    return cmc


def _learning() -> Draw:
    from reid_lab.report.figures.curves import learning

    return learning


def _decoupling() -> Draw:
    from reid_lab.report.figures.curves import decoupling

    return decoupling


def _forest() -> Draw:
    from reid_lab.report.figures.compared import forest

    return forest


def _cost() -> Draw:
    from reid_lab.report.figures.compared import cost

    return cost


def _sensitivity() -> Draw:
    from reid_lab.report.figures.compared import sensitivity

    return sensitivity


def _modalities() -> Draw:
    from reid_lab.report.figures.matrices import modalities

    return modalities


def _transfer() -> Draw:
    from reid_lab.report.figures.matrices import transfer

    return transfer


def _parallel() -> Draw:
    from reid_lab.report.figures.tuning import parallel

    return parallel


def _slices() -> Draw:
    from reid_lab.report.figures.tuning import slices

    return slices


def _win_loss() -> Draw:
    from reid_lab.report.figures.paired import win_loss

    return win_loss


KINDS: Mapping[str, Kind] = {
    "cmc": Kind(
        "how many queries find their person among the first k, each group with a band over seeds",
        "per-query results of the test (results/test.npz)",
        _cmc,
        options={"ranks": "the last rank (20)", "task": "a task of the protocol, such as CC or NIR+TEXT (all of them)"},
    ),
    "forest": Kind(
        "each group's difference from the baseline with its interval",
        "two groups or more",
        _forest,
    ),
    "learning": Kind(
        "metrics on val and losses against the epoch: the mean, and each seed thin",
        "evaluations on val, or the records that --metric names (loss/total, lr/trunk, …)",
        _learning,
        of_test=False,
    ),
    "decoupling": Kind(
        "diagnostics of disentanglement against the epoch, a line for each arm",
        "diagnostics such as diag/cos_matched or diag/hsic; --metric names others",
        _decoupling,
        of_test=False,
    ),
    "sensitivity": Kind(
        "a metric against one field of the spec, with a band over seeds",
        "groups that differ in one field (--by PATH)",
        _sensitivity,
    ),
    "cost": Kind(
        "a metric against what it costs; what nothing else beats in both is the Pareto front",
        "costs in the runs' summaries",
        _cost,
        options={"costs": "names with commas, such as parameters,latency (all that every run recorded)"},
    ),
    "win_loss": Kind(
        "two groups query by query: where each is better, and the mean difference",
        "two groups, and per-query results of the test (results/test.npz)",
        _win_loss,
        options={
            "value": "ap or rank, of the first match (ap)",
            "task": "a task of the protocol, where it has several",
        },
    ),
    "modalities": Kind(
        "modality × modality: how well each combination of query modalities retrieves",
        "the 32 kinds of query of the omni protocol",
        _modalities,
    ),
    "transfer": Kind(
        "source × target: how well what was trained on one data set retrieves in others",
        "runs of two data sets, looked at on each other (`reid-lab evaluate RUN --data TARGET`)",
        _transfer,
        options={"sets": "data sets, in order (those that the runs were trained on)"},
    ),
    "parallel": Kind(
        "the trials of a tuning study as lines across their knobs",
        "a study with finished trials",
        _parallel,
        of="trials",
        of_test=False,
    ),
    "slices": Kind(
        "the objective of a tuning study's trials against each knob alone",
        "a study with finished trials",
        _slices,
        of="trials",
        of_test=False,
    ),
}
"""Name -> kind, of those drawn from records."""

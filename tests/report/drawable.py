"""Made-up runs that hold what the kinds of figures are drawn from."""

from __future__ import annotations

from pathlib import Path

from reid_lab.data.omni import QUERY_KINDS
from reid_lab.report.figures import KINDS
from reid_lab.report.figures.kind import Asked
from reid_lab.report.figures.making import ask, made
from reid_lab.report.figures.style import Drawn
from reid_lab.tracking.records import encode, packed
from reid_lab.tracking.runs import RunFolder
from tests.report.made import ablated, make, study
from tests.report.test_transfer import looked, trained

EPOCHS = {"eval.every.epochs": 1, "train.length.epochs": 2}
OMNI = {kind: float(place) for place, kind in enumerate(QUERY_KINDS)}


def add(folder: RunFolder, *records: tuple) -> RunFolder:
    """Appends (kind, name, step, value) to a run's journal."""
    with folder.journal.open("a", encoding="utf-8") as file:
        for kind, name, step, value in records:
            record = {"kind": kind, "name": name, "step": step, "time": 1, "value": packed(value)}
            file.write(encode(record) + "\n")
    return folder


def trial(runs: Path, number: int, score: float, *, pruned: bool = False, arm: str = "full", **spec) -> RunFolder:
    """A trial of the study `tuned`: it scored this much on val at step 30."""
    fields = {key.replace("__", "."): value for key, value in spec.items()}
    folder = make(runs, 1000 + number, spec=fields, finished=False, noise=number)
    place = {"study": "tuned", "arm": arm, "parent": f"tuned/{arm}", "trial": number}
    how = {"status": "pruned" if pruned else "finished", "reason": ""}
    return add(
        folder,
        ("note", "member", 0, place),
        ("val", "val/mAP", 30, score),
        ("select", "select/best_step", 30, 30),
        ("stop", "run", 0, how),
    )


def tuned(runs: Path) -> list[RunFolder]:
    """A study of four trials, one of them pruned, over a rate, a number and a choice."""
    study(runs, {"full": [None]}, name="tuned")
    path = "train.optimizer.lr", "model.mer.rank", "model.mlm"
    values = [(1e-4, 4, None), (5e-4, 8, "deep"), (1e-3, 4, "deep"), (2e-4, 16, None)]
    return [
        trial(runs, k, 40.0 + k, pruned=k == 3, **dict(zip((p.replace(".", "__") for p in path), v, strict=True)))
        for k, v in enumerate(values)
    ]


def curved(runs: Path, arm: str, seed: int, level: float = 0.0) -> RunFolder:
    """A run with diagnostics twice an epoch of ten steps."""
    folder = make(runs, seed, spec={**EPOCHS, "model.adversary": arm}, noise=len(arm))
    return add(folder, *(("diag", "diag/cos_matched", s, level + seed + s / 100) for s in (0, 5, 10, 15)))


def swept(runs: Path, seeds: int = 3) -> None:
    """An experiment at three ranks."""
    for rank, level in ((8, 0.6), (2, 0.4), (32, 0.5)):
        for seed in range(seeds):
            make(runs, seed, spec={"model.mer.rank": rank}, level=level, noise=rank)


def omni(runs: Path, seeds: int = 2) -> None:
    """An experiment of the omni protocol: each kind of query is its place in the published order, plus the seed."""
    for seed in range(seeds):
        metrics = {f"{kind}/mAP": value + seed for kind, value in OMNI.items()}
        make(runs, seed, spec={"eval.protocol": "omni"}, metrics={**metrics, "mAP": 20.0 + seed})


def _ablation(runs: Path) -> list[str]:
    ablated(runs)
    return ["ablation"]


def _sweep(runs: Path) -> list[str]:
    swept(runs)
    return ["irra"]


def _omni(runs: Path) -> list[str]:
    omni(runs)
    return ["irra"]


def _curves(runs: Path) -> list[str]:
    for arm in ("grl", "none"):
        for seed in range(2):
            curved(runs, arm, seed)
    return ["irra"]


def _pair(runs: Path) -> list[str]:
    for seed in range(2):
        make(runs, seed, level=0.6, noise=1)
        make(runs, seed, level=0.4, spec={"model.mer.rank": 8}, noise=2)
    return ["irra"]


def _tuned(runs: Path) -> list[str]:
    tuned(runs)
    return ["tuned"]


def _transfer(runs: Path) -> list[str]:
    for seed in range(2):
        looked(trained(runs, "market1501", seed), "msmt17", 10.0 + seed)
    trained(runs, "msmt17", 0, noise=5)
    return ["irra"]


EXAMPLES = {
    "cmc": _ablation,
    "forest": _ablation,
    "learning": _ablation,
    "decoupling": _curves,
    "sensitivity": _sweep,
    "cost": _ablation,
    "win_loss": _pair,
    "modalities": _omni,
    "transfer": _transfer,
    "parallel": _tuned,
    "slices": _tuned,
}
"""Of each kind, runs that it can be drawn of: makes them and gives the words that choose them."""


def asked(kind: str, words: list[str], runs: Path, **given) -> Asked:
    return ask(KINDS[kind], words, runs, **given)


def drawn(kind: str, words: list[str], runs: Path, **given) -> Drawn:
    return made(kind, KINDS[kind], asked(kind, words, runs, **given), "reid-lab figure")[0]

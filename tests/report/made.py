"""Made-up runs: folders such as finished runs leave, in a moment and without training."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from reid_lab.tracking.records import encode, packed
from reid_lab.tracking.runs import RunFolder

SPEC = {
    "data.name": "synthetic",
    "data.preset": "smoke",
    "model.name": "irra",
    "model.mlm": None,
    "model.mer.rank": 4,
    "eval.protocol": "text_to_image",
    "eval.select_on": "val",
    "train.fit_on": "train",
    "train.optimizer.lr": 0.001,
}
PEOPLE, QUERIES = 20, 4


def world(seed: int, *, level: float = 0.5, people: int = PEOPLE) -> np.ndarray:
    """The average precisions of `QUERIES` queries of each person."""
    return np.clip(np.random.default_rng(seed).normal(level, 0.2, people * QUERIES), 0.01, 0.99)


def make(
    runs: Path,
    seed: int = 0,
    *,
    name: str = "irra",
    level: float = 0.5,
    spec: dict | None = None,
    finished: bool = True,
    metrics: dict | None = None,
    digest: str = "d" * 64,
    version: int = 1,
    attempt: int = 1,
    summary: dict | None = None,
    noise: int = 0,
) -> RunFolder:
    """A run of this seed and spec; queries find their person with an average precision near `level`."""
    fields = {**SPEC, **(spec or {})}
    for path in [path for path, value in fields.items() if value is ...]:
        del fields[path]
    about = encode(packed([name, fields, seed, digest, version]))
    identity = hashlib.sha256(about.encode()).hexdigest()
    folder = RunFolder(runs / f"{identity[:12]}-{attempt}")
    folder.results.mkdir(parents=True)
    ap = world(1000 * noise + seed, level=level)
    hits = np.where(ap > 0.5, 1, np.where(ap > 0.3, 4, 20))
    found = {
        "R1": 100 * float((hits <= 1).mean()),
        "R5": 100 * float((hits <= 5).mean()),
        "mAP": 100 * float(ap.mean()),
    }
    found |= metrics or {}
    (folder.path / "identity.json").write_text(json.dumps({"identity": identity, "data": digest, "metrics": version}))
    (folder.path / "environment.json").write_text(json.dumps({"commit": "c" * 40}))
    (folder.path / "spec.yaml").write_text(f"name: {name}\n")
    start = {"experiment": name, "run_name": f"{name} seed {seed}", "tags": {"reid_lab.seed": str(seed)}}
    lines = [("start", "run", 0, start), ("param", "seed", 0, seed)]
    lines += [("param", path, 0, value) for path, value in fields.items()]
    lines += [("input", "synthetic", 0, {"digest": digest})]
    lines += [("loss", "loss/sdm", step, 1.0 / (1 + step)) for step in range(20)]
    lines += [("val", "val/mAP", 10, 40.0 + seed), ("val", "val/mAP", 20, 30.0), ("select", "select/best_step", 20, 10)]
    told = {"name": name, "seed": seed, "stages": ["fit"], "selected_on": fields["eval.select_on"]}
    told |= {"seconds": 60.0 + seed, "parameters": 2_000_000, "trainable": 1_500_000, "peak_memory": 2**29}
    if finished:
        pids = np.repeat(np.arange(PEOPLE), QUERIES)
        valid = np.ones(len(pids), dtype=bool)
        columns = {"pids": pids, "image_ids": pids, "ap": ap, "inp": ap, "first_hit": hits, "valid": valid}
        np.savez_compressed(folder.results / "test.npz", **columns)
        text = json.dumps({"metrics": found, "protocol": fields["eval.protocol"]})
        (folder.results / "test.json").write_text(text)
        lines += [("test", f"test/{metric}", 10, value) for metric, value in found.items()]
        kept = {"path": "results/test.json", "sha256": hashlib.sha256(text.encode()).hexdigest()}
        lines += [("artifact", "results/test.json", 10, kept)]
        told |= {"stages": ["fit", "test"], "test": found}
    records = ({"kind": k, "name": n, "step": s, "time": 1, "value": packed(v)} for k, n, s, v in lines)
    folder.journal.write_text("".join(encode(record) + "\n" for record in records))
    (folder.path / "summary.json").write_text(json.dumps({**told, **(summary or {})}))
    return folder


def study(runs: Path, arms: dict[str, list[RunFolder | None]], *, levels: dict | None = None, name: str = "ablation"):
    """The state of a study with these cells; None is one that is missing. Its file lies beside the runs."""
    file = runs.parent / f"{name}.yaml"
    file.write_text("base: irra.yaml\n")

    def cell(folder):
        return None if folder is None else {"run": folder.run_id, "val": {}, "test": {}, "seconds": 1.0}

    state = {
        "study": name,
        "file": str(file),
        "seeds": list(range(max(map(len, arms.values())))),
        "arms": [
            {
                "name": arm,
                "patch": {},
                "levels": (levels or {}).get(arm, {}),
                "cells": {str(seed): cell(folder) for seed, folder in enumerate(cells)},
            }
            for arm, cells in arms.items()
        ],
    }
    folder = runs / "studies" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "state.json").write_text(json.dumps(state))
    return file


def ablated(runs: Path, seeds: int = 3):
    """A study of three arms: `full`, one that is clearly worse and one that is about the same."""
    full = [make(runs, s, level=0.6, noise=1) for s in range(seeds)]
    worse = [make(runs, s, level=0.4, spec={"model.mer.rank": ..., "model.mer": None}, noise=2) for s in range(seeds)]
    same = [make(runs, s, level=0.6, spec={"model.mlm": {"depth": 1}}, noise=3) for s in range(seeds)]
    levels = {
        "full": {"mer": "on", "mlm": "on"},
        "no_mer": {"mer": "off", "mlm": "on"},
        "mlm=deep": {"mer": "on", "mlm": "deep"},
    }
    return study(runs, {"full": full, "no_mer": worse, "mlm=deep": same}, levels=levels)

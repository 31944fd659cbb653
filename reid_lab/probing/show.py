"""A probe's result as tables to print, and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

KINDS = {"clothes": "clothes", "body": "body", "scene": "camera and scene", "person": "the person, across moments"}


@final
@dataclass(frozen=True)
class Table:
    """A table to print: a line above it, its head, its rows."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(found: Mapping[str, Any]) -> Iterator[Table]:
    """One table for each kind of attribute, then the counterfactual moves."""
    for kind, title in KINDS.items():
        rows = [row for row in found["probes"] if row["kind"] == kind]
        if rows:
            yield _of_kind(title, rows)
    if found["counterfactual"] is not None:
        yield _moves(found["counterfactual"])


def _of_kind(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    names = tuple(dict.fromkeys(row["attribute"] for row in rows))
    embeddings = dict.fromkeys((row["stage"], row["embedding"]) for row in rows)
    cell = {(row["stage"], row["embedding"], row["attribute"]): row for row in rows}

    def of(name: str) -> list[Mapping[str, Any]]:
        return [row for row in rows if row["attribute"] == name]

    def span(name: str, key: str) -> str:
        found = sorted({row[key] for row in of(name)})
        return str(found[0]) if len(found) == 1 else f"{found[0]}-{found[-1]}"

    def percent(value: float) -> str:
        return f"{100 * value:.1f}"

    lines = [
        ("classes", *(span(name, "classes") for name in names)),
        ("items", *(span(name, "n") for name in names)),
        ("people" if rows[0]["across"] == "people" else "moments", *(span(name, "clusters") for name in names)),
        ("chance", *(percent(np.mean([row["chance"] for row in of(name)])) for name in names)),
        ("permuted labels", *(percent(np.mean([row["permuted"]["mean"] for row in of(name)])) for name in names)),
    ]
    for stage, embedding in embeddings:
        here = (cell.get((stage, embedding, name)) for name in names)
        told = f"{embedding}, {stage}" if stage != "trained" else embedding
        lines.append((told, *("-" if row is None else _both(row["balanced"]) for row in here)))
    return Table(f"{title}: balanced accuracy, %, mean ± deviation over folds", ("embedding", *names), tuple(lines))


def _both(value: Mapping[str, float]) -> str:
    return f"{100 * value['mean']:.1f} ± {100 * value['deviation']:.1f}"


def _moves(found: Mapping[str, Any]) -> Table:
    title = (
        f"how far embeddings move (cosine distance, {found['people']} people × {found['images']} images; "
        "95% interval over people, of these weights)"
    )
    changes = ("outfit", "person", "scene")
    rows = []
    for row in found["rows"]:
        told = row["embedding"] if row["stage"] == "trained" else f"{row['embedding']}, {row['stage']}"
        moves = row["moves"]
        cells = [
            f"{moves[c]['mean']:.3f} [{moves[c]['interval'][0]:.3f}, {moves[c]['interval'][1]:.3f}]" for c in changes
        ]
        ratios = [moves[c]["relative"] for c in changes[:2]]
        cells += ["-" if r is None else f"{r[0]:.2f} [{r[1]:.2f}, {r[2]:.2f}]" for r in ratios]
        rows.append((told, *cells))
    head = ("embedding", "other outfit", "other person", "other scene", "outfit / scene", "person / scene")
    return Table(title, head, tuple(rows))


def csv_of(found: Mapping[str, Any]) -> str:
    """Every probe and every move as a line: what, of which embedding, value, deviation or interval."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    head = (
        "measure",
        "stage",
        "embedding",
        "roles",
        "about",
        "n",
        "clusters",
        "classes",
        "value",
        "deviation",
        "low",
        "high",
    )
    lines.writerow(head)
    for row in found["probes"]:
        start = (row["stage"], row["embedding"], "+".join(row["roles"]), row["attribute"])
        counts = (row["n"], row["clusters"], row["classes"])
        for name in ("balanced", "accuracy", "permuted", "majority"):
            lines.writerow((name, *start, *counts, repr(row[name]["mean"]), repr(row[name]["deviation"]), "", ""))
    moved = found["counterfactual"] or {"rows": []}
    for row in moved["rows"]:
        for change, move in row["moves"].items():
            start = (row["stage"], row["embedding"], "+".join(row["roles"]), change)
            n = moved["people"] * moved["images"]
            for name, values in (("distance", (move["mean"], *move["interval"])), ("relative", move["relative"])):
                if values is not None:
                    mean, low, high = map(repr, values)
                    lines.writerow((name, *start, n, moved["people"], "", mean, "", low, high))
    return text.getvalue()

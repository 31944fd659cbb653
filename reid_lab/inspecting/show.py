"""What `inspect` found, as text: tables for reading, a mermaid graph for a page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

DEPTH = 3
"""How deep the table of modules goes; JSON holds them all."""


def table(found: Mapping[str, Any], depth: int = DEPTH) -> str:
    """Everything, in aligned columns; the module tree down to `depth`."""
    lines = _weights(found) if found["kind"] == "weights" else _model(found, depth)
    return "\n".join((*lines, "", *_checks(found["checks"])))


def _weights(found: Mapping[str, Any]) -> Iterator[str]:
    whole = found["parameters"]
    yield f"{found['target']}: {whole['tensors']} tensors, {whole['elements']:,} elements"
    yield from (f"{name}: {value}" for name, value in found["facts"].items())
    yield ""
    rows = ((t["name"], _shape(t["shape"]), t["dtype"], f"{t['elements']:,}") for t in found["tensors"])
    yield from _columns(("tensor", "shape", "type", "elements"), rows)


def _model(found: Mapping[str, Any], depth: int) -> Iterator[str]:
    facts, whole = found["facts"], found["parameters"]
    yield f"{found['target']}: {found['architecture']} on {found['device']}, weights {found['weights']}"
    yield f"{facts['note']}: {facts['identities']} identities, {facts['cameras']} cameras"
    yield from (f"input {role}: {_shape(shape)}" for role, shape in found["inputs"].items())
    share = 100 * whole["trainable_elements"] / max(1, whole["elements"])
    yield (
        f"parameters: {whole['tensors']} tensors, {whole['elements']:,} elements; trainable: "
        f"{whole['trainable_tensors']} tensors, {whole['trainable_elements']:,} elements ({share:.1f}%)"
    )
    yield ""
    yield from _tree(found, depth)
    yield ""
    rows: Iterable[Sequence[str]]
    rows = (("+".join(s["roles"]), _shape(s["embedding"]), _operations(s["flops"])) for s in found["subsets"])
    yield from _columns(("inputs", "embeddings", "operations of a group"), rows)
    yield f"training, forward and backward: {_operations(found['training_flops'])} a group"
    yield ""
    names = ("stage", "group", "learning rate", "weight decay", "tensors", "elements", "gradient norm")
    rows = (
        (
            g["stage"],
            g["name"],
            f"{g['lr']:g}",
            f"{g['weight_decay']:g}",
            str(g["tensors"]),
            f"{g['elements']:,}",
            f"{g['gradient_norm']:.4g}",
        )
        for g in found["groups"]
    )
    yield from _columns(names, rows)
    yield ""
    rows = (
        (t["name"], _number(t["value"]), f"{t['weight']:g}", _number(t["weighted"]))
        for t in [*found["terms"], {"name": "total", "value": None, "weight": 1.0, "weighted": found["total"]}]
    )
    yield from _columns(("term", "value", "weight", "weighted"), rows)


def _tree(found: Mapping[str, Any], depth: int) -> Iterator[str]:
    """The modules down to `depth`, blocks that are alike told once."""
    singles = [*(s for s in ("+".join(s["roles"]) for s in found["subsets"]) if _of(found, s)), "training"]
    rows = []
    for module in found["modules"]:
        path = module["path"]
        level = path.count(".") + 1 if path else 0
        if level > depth or not module["elements"]:
            continue
        share = 100 * module["trainable"] / module["elements"]
        name = "  " * level + (path.rpartition(".")[2] or "(model)")
        shapes = (_shape(module["shapes"].get(single, ())) for single in singles)
        told = (name, module["kind"], str(module["tensors"]), f"{module['elements']:,}", f"{share:.0f}%", *shapes)
        rows.append(told)
    yield from _columns(("module", "kind", "tensors", "elements", "trainable", *singles), rows)


def _of(found: Mapping[str, Any], subset: str) -> bool:
    return any(subset in module["shapes"] for module in found["modules"])


def _checks(checks: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for check in checks:
        detail = f": {check['detail']}" if check["detail"] and not check["passed"] else ""
        yield f"{'✓' if check['passed'] else '✗'} {check['name']}{detail}"


def _shape(shape: Iterable[int]) -> str:
    return "×".join(map(str, shape))


def _operations(count: int) -> str:
    for size, name in ((10**12, "T"), (10**9, "G"), (10**6, "M")):
        if count >= size:
            return f"{count / size:.2f} {name}FLOP"
    return f"{count / 1000:.2f} kFLOP"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _columns(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    lines = [tuple(head), *map(tuple, rows)]
    widths = [max(len(line[k]) for line in lines) for k in range(len(head))]
    for line in lines:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()


def mermaid(found: Mapping[str, Any]) -> str:
    """A flow chart: each input through the modules that see it to the embedding, and the terms to the total."""
    nodes: dict[str, str] = {}  # label -> its shape, in the order of their numbers
    edges: dict[str, None] = {}

    def node(label: str, shape: str = '["{}"]') -> str:
        nodes.setdefault(label, shape.format(label))
        return f"n{list(nodes).index(label)}"

    def edge(a: str, b: str, text: str = "") -> None:
        edges[f"  {a} -->{f'|{text}|' if text else ''} {b}"] = None

    modules = {module["path"]: module for module in found["modules"]}
    for role, shape in found["inputs"].items():
        last = node(f"{role} {_shape(shape)}", '(["{}"])')
        for path in _flow(found, role):
            alike = [m for p, m in modules.items() if _alike(p) == path]
            times = f" (×{len(alike)})" if len(alike) > 1 else ""
            here = node(f"{path}{times}<br>{alike[0]['kind']}")
            if here != last:
                edge(last, here)
            last = here
        edge(last, node("embedding", '(["{}"])'))
    for term in found["terms"]:
        here = node(f"{term['name']} loss", '{{{{"{}"}}}}')
        edge(here, node("total", '(["{}"])'), f"{term['weight']:g}")
        for need in term["needs"]:
            edge(node(f"{need} (value)"), here)
    return "\n".join(("flowchart LR", *(f"  n{k}{text}" for k, text in enumerate(nodes.values())), *edges))


def _flow(found: Mapping[str, Any], role: str) -> Iterator[str]:
    """The outermost modules that a role alone goes through, in the order of their calls."""
    called = {m["path"]: m["order"][role] for m in found["modules"] if role in m["order"]}
    outer = [path for path in called if not any(path.startswith(f"{other}.") for other in called)]
    yield from dict.fromkeys(_alike(path) for path in sorted(outer, key=lambda path: called[path]))


def _alike(path: str) -> str:
    return re.sub(r"(?<=\.)\d+(?=\.|$)", "*", path)

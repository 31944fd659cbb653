"""Checkpoints of other projects as runs: `reid-lab import SOURCE FILE --out DIR`.

What comes out is the folder of a run that was trained elsewhere: a spec, the facts that the tensors tell, the weights
under our names and a journal that says where they come from. `evaluate`, `search` and `inspect` work on it as on
any other. Its summary marks it as imported, and so does every table.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from reid_lab.assembly import architecture, open_source
from reid_lab.catalogue import load_spec
from reid_lab.contracts import Facts
from reid_lab.engine.checkpoint import file_sha256
from reid_lab.errors import CheckpointError, Fault, SpecError, UserError, unknown
from reid_lab.importing.folder import write
from reid_lab.interop.containers import Container, read
from reid_lab.interop.containers import model as described
from reid_lab.interop.layout import Layout, Tensors, Told, Trunk, stride
from reid_lab.interop.layouts import LAYOUTS
from reid_lab.parts.locate import resolve
from reid_lab.parts.sie import VIEWS
from reid_lab.parts.weights import Report, load
from reid_lab.spec.loader import Loaded
from reid_lab.spec.run import RunSpec
from reid_lab.tracking.runs import RunFolder

EXPERIMENTS = Path(__file__).parents[1] / "interop" / "experiments"
_TOLD = 12  # faults that are told before the rest is counted


@dataclass(frozen=True)
class Imported:
    """The folder that was written, and what became of every key."""

    folder: RunFolder
    report: Report
    notes: tuple[str, ...]


def import_checkpoint(
    name: str,
    file: Path,
    out: Path,
    *,
    experiment: Path | None = None,
    sets: Sequence[str] = (),
    allow_unused: bool = False,
    views: int = 0,
) -> Imported:
    """Reads a checkpoint of the project `name` and writes it as the folder of a run.

    Args:
        name: one of `LAYOUTS`.
        file: a safetensors or torch file, a TorchScript archive, or the folder of a Hugging Face model, read as plain
            data; `model`, `state_dict` and `module.` are unwrapped.
        out: the folder to write; nothing is left of it unless every tensor has found its place.
        experiment: the spec to evaluate with; None: that of the source. What the tensors tell stands above it.
        sets: overrides of the spec, above everything else.
        allow_unused: keys that the model does not know are reported, and are no error.
        views: how many views there are, where side information counts pairs of camera and view; 0: as many as the
            experiment's data has.

    Raises:
        UserError: an unknown source, a folder that is there already, a file that is no file of plain tensors or of
            another layout, a missing, surplus or misshapen key.
    """
    if name not in LAYOUTS:
        raise UserError(unknown("source", name, LAYOUTS))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(Fault("exists already; --out names a folder that does not", str(out)))
    layout, container = LAYOUTS[name], read(file)
    with _named(file), _undone(out):
        with _shaped(layout):
            tensors = layout.renamed(container.tensors)
            told = layout.told(tensors)
        asked = _Asked(_experiment(name, experiment), told.sets, tuple(sets))
        spec = asked.spec().spec
        size = getattr(spec.model, "image_size", None) or spec.data.image_size or layout.image_size
        asked = asked.told_more(_stride(layout, tensors, size))
        if layout.trunk is not None:
            with _shaped(layout):
                asked = asked.fixed(_write_trunk(layout.trunk, container, tensors, out, spec, size, sets))
        loaded = asked.spec()
        spec = loaded.spec
        facts = _facts(layout, told, spec, size, views)
        model = architecture(spec).build(spec.model, facts, spec.seed)
        report = _fill(model, layout, tensors, allow_unused, str(file))
        origin = {"source": name, "file": file.name, "sha256": file_sha256(container.file)}
        folder = write(RunFolder(out), loaded, model, facts, origin, report)
    left = (f"nothing of {name}*, which stays the experiment's" for name in layout.elsewhere)
    return Imported(folder, report, (*asked.told, *left))


@dataclass(frozen=True)
class _Asked:
    """A spec that is asked for: what the tensors tell stands above the file, `sets` above that, `last` above all."""

    file: Path
    told: tuple[str, ...]
    sets: tuple[str, ...]
    last: tuple[str, ...] = ()

    def spec(self) -> Loaded:
        return load_spec(self.file, [*self.told, *self.sets, *self.last])

    def told_more(self, sets: tuple[str, ...]) -> _Asked:
        return replace(self, told=(*self.told, *sets))

    def fixed(self, sets: tuple[str, ...]) -> _Asked:
        return replace(self, last=(*self.last, *sets))


def _experiment(name: str, given: Path | None) -> Path:
    """The experiment's file. Raises `SpecError` when its architecture is not the one that the source fills."""
    file, wanted = given or EXPERIMENTS / f"{name}.yaml", LAYOUTS[name].architecture
    found = load_spec(file).spec.model.name
    if found != wanted:
        raise SpecError(Fault(f"a checkpoint of {name} fills {wanted}; the experiment has {found}", str(file)))
    return file


@contextmanager
def _named(file: Path) -> Iterator[None]:
    """Faults of tensors that do not say where they were found are the file's."""
    try:
        yield
    except CheckpointError as error:
        faults = (f if f.where or str(file) in f.what else Fault(f.what, str(file)) for f in error.faults)
        raise CheckpointError(*faults) from error


@contextmanager
def _shaped(layout: Layout) -> Iterator[None]:
    """What fails while shapes are read, before they are compared, is the file's fault: a tensor has other axes."""
    try:
        yield
    except (RuntimeError, ValueError, IndexError, TypeError) as error:
        first = str(error).partition("\n")[0]
        raise CheckpointError(f"a tensor is not of the shape that it has in {layout.title}: {first}") from error


@contextmanager
def _undone(out: Path) -> Iterator[None]:
    """Nothing is left of an import that fails."""
    there = out.exists()
    try:
        yield
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        if there:
            out.mkdir(parents=True)
        raise


def _stride(layout: Layout, tensors: Tensors, size: tuple[int, int]) -> tuple[str, ...]:
    """The stride of the patches, where the position table tells it."""
    found = None if layout.patches is None else stride(tensors, *layout.patches, size)
    return () if found is None else (f"model.stride={found}",)


def _write_trunk(
    trunk: Trunk,
    container: Container,
    tensors: Tensors,
    out: Path,
    spec: RunSpec,
    size: tuple[int, int],
    sets: Sequence[str],
) -> tuple[str, ...]:
    """Writes the trunk's folder; the override that names it. A backbone that was asked for gives its configuration."""
    field = trunk.field.removeprefix("model.")
    folder = container.folder if trunk.beside else None
    if any(given.startswith(f"{trunk.field}=") for given in sets) or (folder is None and trunk.words):
        folder = resolve(getattr(spec.model, field))
    target = (out / "backbone").absolute()
    trunk.write(target, tensors, None if folder is None else described(folder, trunk.kind), size)
    return (f"{trunk.field}={json.dumps(str(target))}",)


def _facts(layout: Layout, told: Told, spec: RunSpec, size: tuple[int, int], views: int) -> Facts:
    """What the tensors tell of the data that they were trained on: how many identities, cameras and views."""
    sie = getattr(spec.model, "sie", None)
    counts = {"camera": (told.sides, 0), "view": (0, told.sides)}.get(getattr(sie, "of", "camera"))
    if counts is None and told.sides:
        views = views or open_source(spec.data).facts.labels.get(VIEWS, 0)
        if views < 1 or told.sides % views:
            raise CheckpointError(
                f"{told.sides} rows of side information are cameras x views (model.sie.of 'both'); "
                f"the experiment's data has {views} views"
            )
        counts = told.sides // views, views
    cameras, scenes = counts or (0, 0)
    labels = {VIEWS: scenes} if scenes else {}
    return Facts(max(1, told.identities), cameras, roles=layout.roles, image_size=size, labels=labels)


def _fill(model: nn.Module, layout: Layout, tensors: Tensors, allow_unused: bool, where: str) -> Report:
    try:
        report = load(
            model,
            tensors,
            layout.table(model, tensors),
            positions=layout.positions(model, tensors),
            may_differ=layout.fresh(model),
            ignore=(".*",) if allow_unused else (*layout.ignore, *layout.unread(model)),
            where=where,
        )
    except CheckpointError as error:
        faults = [
            replace(fault, what=f"{fault.what} (--allow-unused leaves it out)")
            if "surplus key" in fault.what
            else fault
            for fault in error.faults
        ]
        rest = len(faults) - _TOLD
        more = [Fault(f"{where}: and {rest} more such keys")] if rest > 0 else []
        raise CheckpointError(*faults[:_TOLD], *more) from error
    fresh = tuple(name for name in report.reinitialised if not name.startswith(layout.elsewhere or ("(none)",)))
    return replace(report, reinitialised=fresh)

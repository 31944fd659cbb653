"""`reid-lab run --dry-run`: what a run will take, measured before it is begun."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from reid_lab import console as shown
from reid_lab.assembly import assemble, check_named, fit_plan, open_source
from reid_lab.data.splits import only
from reid_lab.engine.dry import DryRun, dry_steps
from reid_lab.errors import RunError
from reid_lab.measuring import tasks
from reid_lab.spec.loader import Loaded


def dry_run(loaded: Loaded, runs: Path, console: Console | None = None) -> DryRun:
    """Two real steps and one evaluation batch: prints what the run will take; writes nothing."""
    spec = loaded.spec
    check_named(spec, runs)
    data = open_source(spec.data, trained=True)
    parts = assemble(spec, replace(data, dataset=only(data.dataset, ("train", "val"))))
    stream = parts.stream()
    asked = tasks(parts, "val")
    first = next(parts.loader.batches(asked[0].gallery, spec.eval.batch)) if asked else None
    plan = fit_plan(spec, stream.steps_per_epoch)
    found = dry_steps(
        parts.model,
        stream,
        plan,
        runtime=parts.runtime,
        prepare=parts.prepare_training,
        evaluation=None if first is None else (first, parts.prepare),
    )
    stream.close()
    existing = next(p for p in [runs.absolute(), *runs.absolute().parents] if p.exists())
    free = shutil.disk_usage(existing).free
    out = console or shown.stdout()
    out.print("losses       " + "  ".join(f"{n} {v:.4f}" for n, v in found.losses.items()))
    out.print(f"parameters   {found.parameters:,}, {found.trainable:,} trainable")
    out.print(f"peak memory  {found.peak_memory_bytes / 2**20:,.0f} MiB")
    out.print(
        f"time         {found.seconds_per_step:.3f} s a step, {found.seconds_per_epoch:.0f} s an epoch "
        f"({stream.steps_per_epoch} steps), {found.seconds_in_total:.0f} s in total ({plan.total_steps} steps), "
        f"evaluations aside ({found.evaluation_seconds_per_group * 1000:.1f} ms an item)"
    )
    out.print(f"checkpoints  {found.checkpoint_bytes / 2**20:,.0f} MiB, {free / 2**20:,.0f} MiB free at {existing}")
    if free < found.checkpoint_bytes:
        raise RunError(f"{existing}: the checkpoints need {found.checkpoint_bytes:,} bytes, {free:,} are free")
    return found

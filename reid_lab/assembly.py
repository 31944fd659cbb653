"""From a spec to the parts that compute it: the one place where configuration becomes plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from reid_lab.architectures import Loaded as LoadedArchitecture
from reid_lab.architectures import find
from reid_lab.catalogue import cache_folder
from reid_lab.contracts import IMAGE_ROLES, TEXT_ROLES, Architecture, Facts, Prepare
from reid_lab.data import DATASETS
from reid_lab.data.augment import Augmentation, make_prepare
from reid_lab.data.items import Dataset, Groups, Items, delivered_size, described, joint, singles
from reid_lab.data.items import facts as data_facts
from reid_lab.data.loader import RESULT_VERSION as DATA_VERSION
from reid_lab.data.loader import Loader, TrainStream
from reid_lab.data.negatives import negatives
from reid_lab.data.partners import Filler, Partners, partners
from reid_lab.data.sampler import CameraBalancedSampler, IdentitySampler, MatchedPairSampler, RandomSampler, Sampler
from reid_lab.engine.checkpoint import identify
from reid_lab.engine.evaluate import embed
from reid_lab.engine.plan import RESULT_VERSION as ENGINE_VERSION
from reid_lab.engine.plan import FitPlan, OptimizerPlan, StagePlan, whole_steps
from reid_lab.engine.runtime import Runtime
from reid_lab.errors import SpecError
from reid_lab.metrics.retrieval import METRICS_VERSION
from reid_lab.parts import backbones
from reid_lab.schedules import constant
from reid_lab.spec.identity import identity
from reid_lab.spec.run import DataSpec, OptimizerSpec, RunSpec, StageSpec
from reid_lab.spec.schedule import build
from reid_lab.spec.section import walk
from reid_lab.tracking.mlflow_store import store_uri
from reid_lab.tracking.runs import find as find_run

LabelsOf = Callable[[Dataset, np.ndarray], Mapping[str, np.ndarray]]


@dataclass(frozen=True)
class Labels:
    """Further labels of training groups: name -> number of values, and how to look them up by item."""

    values: Mapping[str, int]
    of: LabelsOf


@dataclass(frozen=True)
class Source:
    """The data of a run and what its architecture may know of it."""

    dataset: Dataset
    facts: Facts
    labels: Labels | None

    def training(self, roles: tuple[str, ...]) -> Groups:
        """The training groups of an architecture with these inputs."""
        items = self.dataset.items
        images, texts = [r for r in roles if r in IMAGE_ROLES], [r for r in roles if r in TEXT_ROLES]
        if len(roles) == 1:
            groups = singles(items, "train", roles[0])
        elif images and texts:
            groups = described(items, "train", images, texts)  # what moments lack is drawn: see `_partners`
        else:
            groups = joint(items, "train", roles)
        if self.labels is None:
            return groups
        return groups.with_labels(self.labels.of(self.dataset, groups.members[roles[0]]))


def open_source(spec: DataSpec, labels: Labels | None = None, *, trained: bool = False) -> Source:
    """Opens a data set, rendering or reading what is not cached yet.

    trained: on it; else a data set whose authors have no val split is opened without one.
    """
    entry = DATASETS[spec.name]
    opened = entry.open if trained or spec.val != "authors" else entry.as_it_is
    dataset = opened(spec, cache_folder())
    size = spec.image_size or delivered_size(dataset)
    facts = data_facts(dataset.items, dataset.items.roles(), size, labels.values if labels else None)
    return Source(dataset, facts, labels)


def architecture(spec: RunSpec) -> LoadedArchitecture:
    """The architecture's class and versions."""
    return find(spec.model.name).load()


def init_file(spec: RunSpec, runs: Path) -> Path | None:
    """The checkpoint that `train.init_from` names: a file, or the best one of a run."""
    name = spec.train.init_from
    if name is None:
        return None
    return Path(name) if Path(name).is_file() else find_run(runs, name).selected


def _trunks(spec: RunSpec) -> dict[str, str]:
    """The backbones that a spec names: dotted path in `model` -> name."""
    leaves = (leaf for leaf in walk(spec.model) if leaf.path.endswith("backbone"))
    return {leaf.path: leaf.value for leaf in leaves if leaf.value is not None}


def check_named(spec: RunSpec, runs: Path) -> None:
    """Looks for what a spec names (backbones, the checkpoint to begin from, the store) before data is drawn or read.

    Raises the `UserError` of the first that is not there.
    """
    if spec.tracking.uri != "off":
        store_uri(runs, spec.tracking.uri)
    for name in _trunks(spec).values():
        backbones.resolve(name)
    start = init_file(spec, runs)
    if start is not None:
        identify(start)


def identify_run(spec: RunSpec, source: Source, runs: Path) -> tuple[str, dict[str, Any]]:
    """The identity of a run and the parts beside the spec that it is made of."""
    return identify_spec(spec, source.dataset.digest, runs)


def identify_spec(spec: RunSpec, data: str, runs: Path) -> tuple[str, dict[str, Any]]:
    """As `identify_run`, from the digest of the data."""
    start = init_file(spec, runs)
    parts = {
        "data": data,
        "metrics": METRICS_VERSION,
        "versions": {
            "architecture": architecture(spec).result_version,
            "engine": ENGINE_VERSION,
            "data": DATA_VERSION,
        },
        "weights": {path: backbones.fingerprint(name) for path, name in _trunks(spec).items()},
        "init_from": None if start is None else identify(start)[1],
    }
    return identity(spec, parts), parts


def _sampler(spec: RunSpec, groups: Groups) -> Sampler:
    batch = spec.train.batch
    if batch.sampler == "identity":
        return IdentitySampler(groups.pids, batch.size, batch.instances)
    if batch.sampler == "camera_balanced":
        return CameraBalancedSampler(groups.pids, groups.camids, batch.size, batch.instances)
    if batch.sampler == "matched_pair":
        return MatchedPairSampler(groups.pids, batch.size)
    return RandomSampler(len(groups), batch.size, drop_last=batch.drop_last)


def _optimizer(spec: OptimizerSpec) -> OptimizerPlan:
    return OptimizerPlan(spec.kind, spec.lr, spec.weight_decay, spec.betas, spec.eps, spec.momentum)


def _stage(stage: StageSpec, spec: RunSpec, steps_per_epoch: int, total: int) -> StagePlan:
    schedule = build(spec.train.schedule if stage.schedule is None else stage.schedule)
    return StagePlan(
        name=stage.name,
        steps=whole_steps(stage.length.span(), steps_per_epoch, total),
        optimizer=_optimizer(stage.optimizer or spec.train.optimizer),
        schedule=schedule if callable(schedule) else constant(schedule),
        trainable=stage.trainable,
        terms=stage.terms,
    )


def fit_plan(spec: RunSpec, steps_per_epoch: int) -> FitPlan:
    """Lengths in steps, schedules as functions."""
    total = whole_steps(spec.train.length.span(), steps_per_epoch)
    stages = spec.train.stages or (StageSpec(name="train", length=spec.train.length),)
    return FitPlan(
        stages=tuple(_stage(stage, spec, steps_per_epoch, total) for stage in stages),
        seed=spec.seed,
        eval_every=whole_steps(spec.eval.every.span(), steps_per_epoch, total),
        checkpoint_every=whole_steps(spec.checkpoint.every.span(), steps_per_epoch, total),
        log_every=spec.tracking.log_every,
        metric=spec.eval.metric,
        select_on=spec.eval.select_on,
        patience=spec.eval.patience,
        accumulate=spec.train.accumulate,
        clip_norm=spec.train.clip_norm,
    )


def _partners(spec: RunSpec, items: Items, roles: tuple[str, ...]) -> Partners | None:
    """Who fills what a training group lacks: images of the identity, where people and not moments are paired."""
    images = [role for role in roles if role in IMAGE_ROLES]
    by_identity = spec.train.batch.sampler == "matched_pair" or (len(images) > 1 and len(images) < len(roles))
    return partners(items, images) if by_identity else None


def _loader(dataset: Dataset, model: Architecture, runtime: Runtime) -> Loader:
    return Loader(dataset, model.inputs, pin=runtime.device.type == "cuda")


@dataclass(frozen=True)
class Parts:
    """Everything that a run computes with."""

    spec: RunSpec
    source: Source
    runtime: Runtime
    model: Architecture
    loader: Loader
    prepare: Prepare
    prepare_training: Prepare

    def stream(self) -> TrainStream:
        """The training batches."""
        roles, items = tuple(self.model.inputs), self.source.dataset.items
        groups = self.source.training(roles)
        filler: Filler | None = _partners(self.spec, items, roles)
        if self.spec.train.pairs is not None:
            groups, filler = negatives(groups, items, self.spec.train.pairs, self.spec.seed, filler)
        return TrainStream(
            self.loader,
            groups,
            _sampler(self.spec, groups),
            self.spec.seed,
            self.spec.runtime.workers,
            partners=filler,
        )

    def over(self, source: Source) -> Parts:
        """The same model over other data."""
        return replace(self, source=source, loader=_loader(source.dataset, self.model, self.runtime))

    def embed(self, groups: Groups) -> Any:
        """The embeddings (n, D) of groups."""
        return embed(self.model, self.loader.batches(groups, self.spec.eval.batch), self.prepare, self.runtime)


def assemble(spec: RunSpec, source: Source, facts: Facts | None = None, *, training: bool = True) -> Parts:
    """Starts the runtime and builds the model; `facts` are those of another data set, for its checkpoints.

    training: the data must have every role that the architecture reads; else only what a protocol asks for
    is needed. Raises `SpecError` when the architecture wants a role that the data does not have.
    """
    runtime = Runtime.start(spec.runtime.device, spec.runtime.precision, spec.runtime.threads, spec.runtime.compile)
    model = architecture(spec).build(spec.model, facts or source.facts, spec.seed)
    missing = [role for role in model.inputs if role not in source.facts.roles]
    if missing and training:
        raise SpecError(
            f"{spec.model.name} reads {', '.join(model.inputs)}; {spec.data.name} has no {', '.join(missing)} "
            f"(it has {', '.join(source.facts.roles)})"
        )
    augment = spec.train.augment
    augmentation = augment and Augmentation(
        flip=augment.flip,
        pad=augment.pad,
        erase=augment.erase,
        erase_area=augment.erase_area,
        erase_aspect=augment.erase_aspect,
        erase_value=augment.erase_value,
        jitter=augment.jitter,
        brightness=augment.brightness,
        contrast=augment.contrast,
        saturation=augment.saturation,
        shared=augment.shared,
    )
    return Parts(
        spec=spec,
        source=source,
        runtime=runtime,
        model=model.to(runtime.device),
        loader=_loader(source.dataset, model, runtime),
        prepare=make_prepare(model.inputs, None),
        prepare_training=make_prepare(model.inputs, augmentation or None),
    )

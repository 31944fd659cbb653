"""The sections of an experiment: one YAML file is one `RunSpec`.

`model` and `data` are typed by the architecture's and the data set's own `Spec`, which the loader
takes from the registries handed to it; here they are plain sections with a `name`.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, SerializeAsAny, model_validator

from reid_lab.errors import unknown
from reid_lab.spec.schedule import ChainSpec, Length, Scheduled
from reid_lab.spec.section import LOCAL, Choice, Misfit, Section, Tune

Positive = Annotated[int, Field(ge=1)]
Unit = Annotated[float, Field(ge=0, le=1)]


def _above_zero(length: Length) -> Length:
    if not length.span().amount:
        raise ValueError("must be above 0")
    return length


def _absolute(length: Length) -> Length:
    if length.fraction is not None:
        raise ValueError("a fraction of the planned training is meant elsewhere; here epochs or steps plan it")
    return length


Duration = Annotated[Length, AfterValidator(_above_zero)]


class ModelSpec(Section):
    """Base of every architecture's spec; `name` is its key in the registry.

    `TERMS` names every loss term that the architecture can have; `train.stages` may list no others.
    An empty tuple leaves that to the engine.
    """

    TERMS: ClassVar[tuple[str, ...]] = ()

    name: str


class ValSpec(Section):
    """How a validation split is carved from the training identities where the authors have none."""

    identities: Annotated[float, Field(gt=0, lt=1)] = 0.1
    seed: int = 0


class DataSpec(Section):
    """Base of every data set's spec; `name` is its key in the registry."""

    name: str
    root: Annotated[str | None, LOCAL] = None
    val: ValSpec | Literal["authors", "none"] = "authors"
    image_size: tuple[Positive, Positive] | None = None  # height, width; null: as the data set stores them
    aliases: dict[str, str] = {}


class AugmentSpec(Section):
    """Batched image augmentation of training images, in this order.

    Erasing follows normalisation, so that an `erase_value` of `zero` is the mean colour; IRRA erases with `clip_mean`,
    TransReID with `noise`; `mean` is that of each image, and three numbers are a colour for pixels in [0, 1]. `jitter`
    is the share of the colour images that change their colours, each by a factor in [1 - x, 1 + x].
    """

    flip: Unit = 0.5
    pad: Annotated[int, Field(ge=0)] = 10
    erase: Annotated[float, Field(ge=0, le=1), Tune(0.0, 0.7)] = 0.5
    erase_area: tuple[Unit, Unit] = (0.02, 0.4)
    erase_aspect: Annotated[float, Field(gt=0, le=1)] = 0.3
    erase_value: Literal["clip_mean", "zero", "noise", "mean"] | tuple[Unit, Unit, Unit] = "clip_mean"
    jitter: Annotated[float, Field(ge=0, le=1), Tune(0.0, 0.5)] = 0.0
    brightness: Unit = 0.15  # these three as in fast-reid
    contrast: Unit = 0.15
    saturation: Unit = 0.1
    shared: bool = False  # the same draw for all images of one group

    @model_validator(mode="after")
    def _ordered(self) -> AugmentSpec:
        if self.erase_area[0] > self.erase_area[1]:
            raise Misfit("erase_area", f"the least ({self.erase_area[0]}) is above the most ({self.erase_area[1]})")
        return self


class BatchSpec(Section):
    """How training batches are drawn.

    `random` groups; `identity` (P identities x K instances); `camera_balanced`, whose K come from as many cameras as
    can be; `matched_pair`, all of different identities.
    """

    sampler: Annotated[
        Literal["random", "identity", "camera_balanced", "matched_pair"], Choice("random", "identity")
    ] = "random"
    size: Positive = 64
    instances: Annotated[int, Field(ge=1), Choice(2, 4, 8, 16)] = 4
    drop_last: bool = False

    @model_validator(mode="after")
    def _whole(self) -> BatchSpec:
        if self.sampler in ("identity", "camera_balanced") and self.size % self.instances:
            raise Misfit("size", f"{self.size} is not a multiple of instances ({self.instances})")
        return self


class OptimizerSpec(Section):
    """The optimiser; the architecture's group rules multiply `lr` and `weight_decay`."""

    kind: Literal["adam", "adamw", "sgd"] = "adam"
    lr: Annotated[float, Field(gt=0), Tune(1e-6, 1e-3, log=True)] = 1e-5
    weight_decay: Annotated[float, Field(ge=0), Tune(1e-5, 1e-3, log=True)] = 4e-5
    betas: tuple[Unit, Unit] = (0.9, 0.999)
    eps: Annotated[float, Field(gt=0)] = 1e-8
    momentum: Unit = 0.9


class StageSpec(Section):
    """One stage of training, with its own trainable groups, terms, optimiser and length.

    Null means: as in `train`. `trainable` lists name patterns (`*` and `?`) of parameters that learn.
    """

    name: str
    length: Duration
    trainable: tuple[str, ...] | None = None
    terms: tuple[str, ...] | None = None
    optimizer: OptimizerSpec | None = None
    schedule: ChainSpec | float | None = None


class TrainSpec(Section):
    """Training: length, batches, optimiser, learning-rate schedule (a factor on every group's rate)."""

    length: Annotated[Duration, AfterValidator(_absolute)] = Length(epochs=60)
    batch: BatchSpec = BatchSpec()
    # every pair a second time with another person's clothes caption: as_published draws them once, redrawn each
    # time, similar_clothes each time among those that share most words; null: matched pairs alone
    pairs: Literal["as_published", "redrawn", "similar_clothes"] | None = None
    augment: AugmentSpec | None = AugmentSpec()
    optimizer: OptimizerSpec = OptimizerSpec()
    schedule: Scheduled = 1.0
    accumulate: Positive = 1  # micro-batches per step; the loss stays that of the whole batch
    clip_norm: Annotated[float, Field(gt=0)] | None = None
    stages: tuple[StageSpec, ...] = ()
    # train+val: once val has selected the length, train anew on both for that length, and test these weights
    fit_on: Literal["train", "train+val"] = "train"
    init_from: Annotated[str | None, LOCAL] = (
        None  # a run id or a checkpoint file; exact keys; the weights are part of the identity
    )

    @model_validator(mode="after")
    def _stages(self) -> TrainSpec:
        names = [stage.name for stage in self.stages]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise Misfit(f"stages.{index}.name", f"an earlier stage is called '{name}' too")
        return self


class GallerySpec(Section):
    """A gallery that is drawn: `shots` images of each identity and camera, `trials` times (SYSU-MM01, PRCC)."""

    shots: Positive = 1
    trials: Positive = 10
    seed: Annotated[int, Field(ge=0)] = 0


class DroppedSpec(Section):
    """Modalities that are missing at test time: each of `roles` is absent from a `share` of the groups of a side."""

    roles: tuple[str, ...]
    share: Unit = 1.0
    side: Literal["query", "gallery", "both"] = "both"
    seed: Annotated[int, Field(ge=0)] = 0


class RerankSpec(Section):
    """k-reciprocal re-ranking (Zhong et al., CVPR 2017); the published code of TransReID has 50, 15, .3."""

    k1: Annotated[int, Field(ge=1), Tune(10, 60)] = 20
    k2: Annotated[int, Field(ge=1), Tune(1, 20)] = 6
    weight: Annotated[float, Field(ge=0, le=1), Tune(0.0, 1.0)] = 0.3  # of the original distance
    half: bool = False  # round to float16 as the published codes do; only this gives their figures to the last digit


class ExpansionSpec(Section):
    """Query expansion by the mean of a query and its `k` best gallery items, weighted by similarity to the `alpha`."""

    k: Annotated[int, Field(ge=1), Tune(1, 20)] = 5
    alpha: Annotated[float, Field(ge=0), Tune(0.0, 3.0)] = 0.0  # 0: all alike


class EvalSpec(Section):
    """Evaluation and selection. `select_on: test` marks the run and every table with it."""

    protocol: str | None = "text_to_image"  # null: nothing is evaluated, and the last weights are kept
    queries: tuple[str, ...] | None = None  # roles that ask; null: those of the protocol
    gallery_role: str | None = None
    # taken out of a query's ranking; null: as the protocol's authors do
    removed: Literal["nothing", "moment", "camera", "scene", "clothes", "other_clothes"] | None = None
    no_match: Literal["skip", "zero", "error"] | None = None
    ap: Literal["step", "trapezoid"] = "step"
    gallery: GallerySpec | None = None  # null: every gallery image, once
    dropped: DroppedSpec | None = None
    expansion: ExpansionSpec | None = None
    rerank: RerankSpec | None = None
    every: Duration = Length(epochs=1)
    select_on: Literal["val", "last", "test"] = "val"
    metric: Literal["mAP", "R1", "R5", "R10", "mINP"] = "mAP"
    patience: Positive | None = None  # evaluations without improvement before an early stop
    batch: Annotated[Positive, LOCAL] = 256

    @model_validator(mode="after")
    def _measurable(self) -> EvalSpec:
        if self.protocol is None and self.select_on != "last":
            what = f"'{self.select_on}' needs a protocol, but eval.protocol is null (allowed: last)"
            raise Misfit("select_on", what, because="protocol")
        return self


class CheckpointSpec(Section):
    """How often `last` is written (`best` follows the evaluations)."""

    every: Annotated[Duration, LOCAL] = Length(epochs=1)


def _device(name: str) -> str:
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", name):
        raise ValueError(unknown("device", name, ("auto", "cpu", "cuda", "cuda:0")))
    return name


class RuntimeSpec(Section):
    """Where and how precisely it is computed. `threads` and `precision` are part of the identity."""

    device: Annotated[Annotated[str, AfterValidator(_device)], LOCAL] = "auto"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    threads: Positive = 2
    workers: Annotated[Annotated[int, Field(ge=0)], LOCAL] = 0  # 0: decode in the training process
    compile: bool = False


class TrackingSpec(Section):
    """The MLflow mirror. `uri: null` is the local store under the runs folder; `off` keeps the journal only."""

    uri: Annotated[str | None, LOCAL] = None
    experiment: Annotated[str | None, LOCAL] = None  # null: the experiment file's name
    log_every: Annotated[Positive, LOCAL] = 10  # steps between recorded training losses
    images: Annotated[Annotated[int, Field(ge=0)], LOCAL] = 8  # ranked lists drawn after the test


class PublishedResult(Section):
    """A number of the literature, for orientation; never copied into our own tables."""

    metrics: dict[str, float]
    source: str


class RunSpec(Section):
    """One experiment: what `reid-lab run FILE` computes for one seed."""

    name: Annotated[str, LOCAL]
    description: Annotated[str, LOCAL] = ""
    published: Annotated[tuple[PublishedResult, ...], LOCAL] = ()
    seed: Annotated[int, Field(ge=0)] = 0
    data: SerializeAsAny[DataSpec]
    model: SerializeAsAny[ModelSpec]
    train: TrainSpec = TrainSpec()
    eval: EvalSpec = EvalSpec()
    checkpoint: CheckpointSpec = CheckpointSpec()
    runtime: RuntimeSpec = RuntimeSpec()
    tracking: TrackingSpec = TrackingSpec()

    @model_validator(mode="after")
    def _selectable(self) -> RunSpec:
        if self.data.val == "none" and self.eval.select_on == "val":
            what = "'val' needs a validation split, but data.val is none (allowed: last, test)"
            raise Misfit("eval.select_on", what, because="data.val")
        return self

    @model_validator(mode="after")
    def _refittable(self) -> RunSpec:
        if self.train.fit_on == "train+val" and (self.eval.select_on != "val" or self.eval.protocol is None):
            what = "'train+val' trains anew for the length that val selected; it needs eval.select_on: val"
            raise Misfit("train.fit_on", what, because="train.fit_on")
        return self

    @model_validator(mode="after")
    def _terms_known(self) -> RunSpec:
        known = self.model.TERMS
        for index, stage in enumerate(self.train.stages):
            for place, term in enumerate(stage.terms or ()):
                if known and term not in known:
                    raise Misfit(f"train.stages.{index}.terms.{place}", unknown("loss term", term, known))
        return self

    def plain(self) -> dict[str, Any]:
        """The resolved spec as plain data."""
        return self.model_dump(mode="json")

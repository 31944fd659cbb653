"""Models that retrieve images by images: a feature, a BNNeck, an identity classifier and a triplet loss.

The strong baseline (BoT: Luo et al., CVPRW 2019) as TransReID (He et al., ICCV 2021) has it: the triplets compare the
feature in front of the neck, the classifier reads what stands behind it, and retrieval uses the former.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import partial
from typing import Annotated, ClassVar, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor

from reid_lab.contracts import Architecture, Batch, Encoded, Facts, GroupRule, Input, InputSpec, Term
from reid_lab.errors import DataError
from reid_lab.parts.branches import STATISTICS, Pixels
from reid_lab.parts.heads import BNNeck, Classifier, NoClassifier, NoNeck
from reid_lab.parts.losses.accuracy import accuracy
from reid_lab.parts.losses.smoothing import smoothed
from reid_lab.parts.losses.triplet import triplet
from reid_lab.parts.sie import VIEWS
from reid_lab.schedules import Progress
from reid_lab.seeding import stream
from reid_lab.spec.run import ModelSpec, Positive
from reid_lab.spec.schedule import ScheduleSpec, build
from reid_lab.spec.section import Misfit, Tune

Weight = Annotated[float, Field(ge=0)] | ScheduleSpec | None
"""The weight of a loss: null or 0 removes the loss, and with it every module that serves it alone."""


class VisualSpec(ModelSpec):
    """What stands behind the feature; the defaults are TransReID's."""

    TERMS: ClassVar[tuple[str, ...]] = ("id", "triplet")

    image_size: tuple[Positive, Positive] | None = None  # height, width; null: as the data delivers them
    neck: bool = True  # a BatchNorm between the feature and the classifier
    id: Annotated[Weight, Tune(0.1, 2.0, log=True)] = 1.0
    smoothing: Annotated[float, Field(ge=0, lt=1), Tune(0.0, 0.2)] = 0.0  # of the identity labels
    triplet: Annotated[Weight, Tune(0.1, 2.0, log=True)] = 1.0
    margin: Annotated[Annotated[float, Field(ge=0)] | None, Tune(0.1, 0.5)] = None  # of the triplets; null: soft
    retrieval: Literal["feature", "neck"] = "feature"  # what an image is found by: in front of the neck, or behind it
    new_lr_factor: Annotated[float, Field(gt=0), Tune(1.0, 20.0, log=True)] = 1.0
    bias_lr_factor: Annotated[float, Field(gt=0)] = 2.0

    @model_validator(mode="after")
    def _used(self) -> VisualSpec:
        if self.smoothing and not _on(self.id):
            raise Misfit("smoothing", "the labels of id are smoothed, and id is off", because="id")
        if self.margin is not None and not _on(self.triplet):
            raise Misfit("margin", "it is the triplets', and triplet is off", because="triplet")
        if self.retrieval == "neck" and not (self.neck and _on(self.id)):
            raise Misfit("retrieval", "there is no neck: neck is false, or id, which alone trains it, is off", "neck")
        return self


class Visual(Architecture, ABC):
    """The part of a model that stands behind its trunks. A subclass builds these, then calls `head`."""

    neck: BNNeck | NoNeck
    identity: Classifier | NoClassifier
    width: int

    @abstractmethod
    def features(self, pixels: Tensor, camids: Tensor, views: Tensor) -> Tensor:
        """Normalised pixels (n, C, H, W), cameras and views (n,) int64, -1 where unknown -> (n, width)."""

    @abstractmethod
    def trunk_of(self, parameter: str) -> tuple[str, float] | None:
        """The name and learning-rate factor of the pretrained trunk that a parameter is of; None: of none."""

    def head(self, spec: VisualSpec, facts: Facts, pixels: Pixels, width: int, seed: int) -> None:
        """Builds what stands behind a feature of `width` channels; `pixels`: how images are to be normalised."""
        self.width = width
        self.neck, self.identity = NoNeck(), NoClassifier()
        if _on(spec.id):
            if spec.neck:
                self.neck = BNNeck(width)
            with stream(seed, "identity"):
                self.identity = Classifier(width, facts.identities)
            self.identity.linear.register_parameter("bias", None)  # of classes alike in number, as the authors'
        mean, std = STATISTICS[pixels]
        self.inputs = {"rgb": InputSpec(size=spec.image_size or facts.image_size, mean=mean, std=std)}
        known = [
            ("id", partial(smoothed, epsilon=spec.smoothing), ("logits", "pids"), spec.id),
            ("triplet", partial(triplet, margin=spec.margin), ("feature", "pids"), spec.triplet),
        ]
        self.terms = tuple(Term(name, fn, needs, build(w)) for name, fn, needs, w in known if w is not None and w != 0)
        if _on(spec.id):
            self.diagnostics = (Term("accuracy", accuracy("logits", "pids"), ("logits", "pids")),)
        self.after = spec.retrieval == "neck"
        self.factors = (spec.new_lr_factor, spec.bias_lr_factor)

    def encode(self, batch: Batch) -> Encoded:
        """The item `feature` (n, D) of every image."""
        rgb = batch.inputs.get("rgb")
        return Encoded({} if rgb is None else {"feature": self._read(batch, rgb)}, batch.groups)

    def values(self, encoded: Encoded, progress: Progress) -> dict[str, Tensor]:
        """`feature` (n, D), in front of the neck, `pids` (n,), and `logits` (n, identities) of what is behind it."""
        if "feature" not in encoded.items:
            return {}
        feature, rows = encoded.items["feature"].values, encoded.items["feature"].rows
        named = {"feature": feature, "pids": encoded.groups["pids"][rows]}
        logits = self.identity(head=self.neck(feature))
        return named | ({"logits": logits["head_logits"]} if logits else {})

    def embed(self, batch: Batch) -> Tensor:
        """(B, D): the image of each group. Raises DataError for a group without one."""
        rgb = batch.inputs.get("rgb")
        rows = set() if rgb is None else set(rgb.rows.tolist())
        if rgb is None or len(rows) < batch.size:
            raise DataError(f"{batch.size - len(rows)} of {batch.size} groups have no rgb image")
        item = self._read(batch, rgb)
        values = self.neck(item.values) if self.after else item.values
        total = torch.zeros(batch.size, self.width, device=batch.device)
        return F.normalize(total.index_add(0, item.rows, F.normalize(values, dim=1)), dim=1)

    def group_rule(self, parameter: str) -> GroupRule:
        """Trunks at their rates, what is new at its own; a bias `bias_lr_factor` times as fast, decayed alike."""
        new_lr, bias_lr = self.factors
        name, factor = self.trunk_of(parameter) or ("new", new_lr)
        return GroupRule(f"{name}.bias", factor * bias_lr) if parameter.endswith("bias") else GroupRule(name, factor)

    def _read(self, batch: Batch, rgb: Input) -> Input:
        unknown = torch.full_like(batch.groups["pids"], -1)
        camids, views = (batch.groups.get(name, unknown)[rgb.rows] for name in ("camids", VIEWS))
        return Input(self.features(rgb.values, camids, views).float(), rgb.rows)


def _on(weight: Weight) -> bool:
    return weight is not None and weight != 0


def prefixed(parameter: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a parameter is of one of the named modules."""
    return parameter.startswith(tuple(f"{prefix}." for prefix in prefixes))

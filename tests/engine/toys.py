"""Toy architectures, a stream and a recorder that the engine's tests train with."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reid_lab.contracts import Architecture, Batch, Encoded, GroupRule, Input, InputSpec, Sum, Term
from reid_lab.engine.fit import fit
from reid_lab.engine.plan import FitPlan, FitResult, OptimizerPlan, StagePlan
from reid_lab.engine.runtime import Runtime
from reid_lab.schedules import Progress, Segment, Span, chain
from reid_lab.seeding import derive, keys, stream, uniform

VOCABULARY, WIDTH, LENGTH, IDENTITIES = 13, 8, 5, 6
RAMP = chain([Segment(0.2, 1.0, Span(8, "steps"))])


class Contrastive(Architecture):
    """Image and text towers, a contrastive term over the global batch and a masked-word term over local tokens."""

    def __init__(self, seed: int = 0, dropout: float = 0.0, word_weight: float = 0.7) -> None:
        super().__init__()
        self.inputs = {"rgb": InputSpec(size=(4, 2)), "caption": InputSpec(max_length=LENGTH)}
        with stream(seed, "towers"):
            self.image = nn.Linear(24, WIDTH)
            self.words = nn.Embedding(VOCABULARY, WIDTH)
            self.vocabulary = nn.Linear(WIDTH, VOCABULARY)
            self.scale = nn.Parameter(torch.tensor(3.0))
        self.dropout = nn.Dropout(dropout)
        self.terms = (
            Term("contrast", self.contrast, ("image", "text", "scale"), RAMP),
            Term("words", self.masked_words, ("word_logits", "word_labels"), word_weight, local=True),
            Term("off", self.never, ("image",), 0.0),
            Term("sketches", self.never, ("sketch",)),
            Term("rare", self.rare, ("image",), 0.5),
        )
        self.diagnostics = (Term("spread", lambda image: image.std(), ("image",)),)

    @staticmethod
    def never(**values: Tensor) -> Tensor:
        raise AssertionError("a term that is off was computed")

    @staticmethod
    def rare(image: Tensor) -> Sum:
        """Valid for rows whose first feature is large, so absent in many batches."""
        valid = (image[:, 0] > 0.75).float()
        return Sum((image.square().sum(1) * valid).sum(), valid.sum())

    @staticmethod
    def contrast(image: Tensor, text: Tensor, scale: Tensor) -> Tensor:
        logits = scale.exp() * image @ text.T
        target = torch.arange(len(image))
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

    @staticmethod
    def masked_words(word_logits: Tensor, word_labels: Tensor) -> Sum:
        total = F.cross_entropy(word_logits.flatten(0, 1), word_labels.flatten(), ignore_index=-1, reduction="sum")
        return Sum(total, (word_labels >= 0).sum())

    def encode(self, batch: Batch) -> Encoded:
        images, ids = batch.inputs["rgb"], batch.inputs["caption"]
        image = self.dropout(self.image(images.values.flatten(1)))
        # More masks in some rows than in others, so that the counts of micro-batches differ.
        masked = uniform(batch.groups["keys"], "mask", LENGTH) < 0.1 + 0.4 * (batch.groups["pids"][:, None] % 2)
        tokens = self.words(torch.where(masked, 0, ids.values)) + image[:, None]
        return Encoded(
            {"image": Input(image, images.rows), "text": Input(self.words(ids.values).mean(1), ids.rows)},
            batch.groups,
            {"word_logits": self.vocabulary(tokens), "word_labels": torch.where(masked, ids.values, -1)},
        )

    def values(self, encoded: Encoded, progress: Progress) -> dict[str, Tensor]:
        return {
            "image": F.normalize(encoded.items["image"].values, dim=1),
            "text": F.normalize(encoded.items["text"].values, dim=1),
            "scale": self.scale,
        }

    def embed(self, batch: Batch) -> Tensor:
        return F.normalize(self.image(batch.inputs["rgb"].values.flatten(1)), dim=1)

    def group_rule(self, parameter: str) -> GroupRule:
        if "bias" in parameter:
            return GroupRule("bias", 2.0, 0.0)
        return GroupRule("trunk" if parameter.startswith(("image", "words")) else "heads")


class Normalised(Architecture):
    """A trunk and, on the global batch, BatchNorm, dropout and a classifier."""

    def __init__(self, seed: int = 0, dropout: float = 0.2) -> None:
        super().__init__()
        self.inputs = {"rgb": InputSpec(size=(4, 2))}
        with stream(seed, "all"):
            # No bias before BatchNorm: its gradient is rounding noise, which Adam would blow up.
            self.trunk = nn.Sequential(nn.Linear(24, 16), nn.GELU(), nn.Linear(16, WIDTH, bias=False))
            self.neck = nn.BatchNorm1d(WIDTH)
            self.classifier = nn.Linear(WIDTH, IDENTITIES)
        self.dropout = nn.Dropout(dropout)
        self.terms = (Term("identity", F.cross_entropy, ("input", "target")),)

    def encode(self, batch: Batch) -> Encoded:
        images = batch.inputs["rgb"]
        return Encoded({"feature": Input(self.trunk(images.values.flatten(1)), images.rows)}, batch.groups)

    def values(self, encoded: Encoded, progress: Progress) -> dict[str, Tensor]:
        feature = self.dropout(self.neck(encoded.items["feature"].values))
        return {"input": self.classifier(feature), "target": encoded.groups["pids"][encoded.items["feature"].rows]}

    def embed(self, batch: Batch) -> Tensor:
        return F.normalize(self.neck(self.trunk(batch.inputs["rgb"].values.flatten(1))), dim=1)


ARCHITECTURES = {"contrastive": Contrastive, "normalised": Normalised}


class ToyStream:
    """Batches of noise around one colour per identity; the last one of an epoch is smaller."""

    steps_per_epoch = 5

    def __init__(self, seed: int = 0, size: int = 8, last: int = 5) -> None:
        self.seed, self.size, self.last = seed, size, last

    def batch(self, step: int, rank: int = 0, world: int = 1) -> Batch:
        epoch, position = divmod(step, self.steps_per_epoch)
        size = self.last if position == self.steps_per_epoch - 1 else self.size
        pids = torch.arange(size) * 5 % IDENTITIES
        own = keys(self.seed, epoch, position * self.size + torch.arange(size))
        values = (uniform(own, "image", 24).reshape(-1, 3, 4, 2) * 100 + pids[:, None, None, None] * 20).to(torch.uint8)
        ids = (uniform(own, "caption", LENGTH) * 4).long() + pids[:, None] + 1
        rows = torch.arange(size)
        whole = Batch({"pids": pids, "keys": own}, {"rgb": Input(values, rows), "caption": Input(ids, rows)})
        return whole.rows(size * rank // world, size * (rank + 1) // world)


def prepare(batch: Batch) -> Batch:
    """Normalised images with noise from the sample's key."""
    if "rgb" not in batch.inputs:
        return batch
    images = batch.inputs["rgb"]
    noise = uniform(batch.groups["keys"], "noise", 24).reshape(images.values.shape)
    return batch.with_inputs(rgb=Input(images.values.float() / 127 - 1 + 0.1 * noise, images.rows))


class DiskRecorder:
    """An append-only log of lines; a key that is held already is compared, and a torn tail dropped."""

    def __init__(self, path: Path | None = None) -> None:
        self.path, self.held, self.pending = path, {}, []
        self.flushes = 0
        if path is not None and path.exists():
            data = path.read_bytes()
            os.truncate(path, data.rfind(b"\n") + 1)
            for line in data.split(b"\n")[:-1]:
                kind, name, step, value = json.loads(line)
                self.held[kind, name, step] = value

    def record(self, kind: str, name: str, step: int, value: Any) -> None:
        key = (kind, name, step)
        if key in self.held:
            if kind != "timing":
                assert self.held[key] == value, f"{key}: {self.held[key]!r} became {value!r}"
            return
        self.held[key] = value
        self.pending.append([kind, name, step, value])

    def flush(self) -> None:
        self.flushes += 1
        if self.path is not None:
            with self.path.open("ab") as file:
                for item in self.pending:
                    file.write(json.dumps(item).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())
        self.pending = []

    def results(self) -> dict[tuple[str, str, int], Any]:
        return {key: value for key, value in self.held.items() if key[0] != "timing"}

    def of(self, kind: str) -> dict[tuple[str, int], Any]:
        return {(name, step): value for (k, name, step), value in self.held.items() if k == kind}


def score(model: Architecture) -> dict[str, float]:
    """A made-up validation metric that depends on every weight of the embedding."""
    batch = prepare(ToyStream(seed=99).batch(0))
    embedding = model.embed(batch)
    torch.rand(7)  # an evaluation that draws random numbers must not disturb training
    return {"mAP": float((embedding @ embedding.T).sum()), "R1": float(embedding[0, 0])}


def plan(steps: int = 12, **changes: Any) -> FitPlan:
    stages = changes.pop("stages", None) or (StagePlan("main", steps, OptimizerPlan(lr=1e-2)),)
    settings: dict[str, Any] = {"eval_every": 5, "checkpoint_every": 4, "log_every": 1, "seed": 3}
    return FitPlan(stages, **(settings | changes))


def train(
    folder: Path,
    kind: str = "contrastive",
    *,
    steps: int = 12,
    recorder: DiskRecorder | None = None,
    runtime: Runtime | None = None,
    model: Architecture | None = None,
    scores: Iterable[float] | None = None,
    options: dict[str, Any] | None = None,
    **changes: Any,
) -> tuple[Architecture, FitResult, DiskRecorder]:
    """Builds a toy and trains it; `scores` replaces the metric of successive evaluations."""
    model = model or ARCHITECTURES[kind](**(options or {}))
    recorder = recorder or DiskRecorder()
    given = iter(scores) if scores is not None else None
    extra = {name: changes.pop(name) for name in ("on_eval", "reporter", "stream", "prepare") if name in changes}
    evaluate = changes.pop("evaluate", lambda: {"mAP": next(given)} if given is not None else score(model))
    result = fit(
        model,
        extra.pop("stream", ToyStream()),
        plan(steps, **changes),
        runtime=runtime or Runtime(torch.device("cpu")),
        prepare=extra.pop("prepare", prepare),
        recorder=recorder,
        folder=folder,
        evaluate=evaluate,
        **extra,
    )
    return model, result, recorder


def seed_of(name: str) -> int:
    return derive("tests", name)

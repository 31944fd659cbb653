"""CLIP with sliding windows: a CLIP image tower whose class token is strengthened by windows over the other tokens.

No paper is published: the source is a design note (two schemes, a configuration) on top of MambaPro (Wang et al., AAAI
2025, arXiv:2412.10707; the authors' code at github.com/924973292/MambaPro, commit 6dc4cb7), which itself stands on
CLIP-ReID (Li et al., AAAI 2023, arXiv:2211.13977; commit eb1898b) and TransReID.

A BNNeck, an identity classifier (.25) and triplets of the hardest examples (1.0) train it, for images of one modality
or for aligned triples of rgb, nir and tir with MambaPro's adapters, prompts and aggregator. `features: clip_reid` is
the image branch of CLIP-ReID's second stage (768 and 512 channels with a head each; triplets also in front of the last
block), without its text prompts. Where the note works against its purpose the published form is a choice,
`as_published`, and not the default; docs/architectures/clip_window.md tells each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Annotated, ClassVar, Literal, final

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, Field, field_validator, model_validator
from torch import Tensor, nn

from reid_lab.contracts import Architecture, Batch, Encoded, Facts, GroupRule, Input, InputSpec, Sum, Term
from reid_lab.errors import DataError, unknown
from reid_lab.parts import backbones
from reid_lab.parts.aggregator import Aggregator, MambaSpec
from reid_lab.parts.heads import BNNeck, Classifier, NoNeck
from reid_lab.parts.locate import known_name
from reid_lab.parts.losses.accuracy import accuracy
from reid_lab.parts.losses.smoothing import Spread, smoothed
from reid_lab.parts.losses.triplet import triplet
from reid_lab.parts.sie import VIEWS, SideSpec, side_information
from reid_lab.parts.synergy import AdapterSpec, PlainBlocks, PromptSpec, SynergisticBlocks
from reid_lab.parts.towers import CLIP_MEAN, CLIP_STD
from reid_lab.parts.windows import ClassToken, WindowedToken, WindowSpec
from reid_lab.schedules import Progress
from reid_lab.seeding import stream
from reid_lab.spec.run import ModelSpec, Positive
from reid_lab.spec.schedule import build
from reid_lab.spec.section import LATER, Choice, Misfit, Tune
from reid_lab.spec.weight import Weight, on

RESULT_VERSION = 1

SPECTRA = ("rgb", "nir", "tir")
ALL, FUSED, HIDDEN, PROJECTED, EARLY = "all", "fused", "hidden", "projected", "early"
"""Names of features that are no role: the concatenated triple, as it is and aggregated; CLIP-ReID's three."""

_HALF = (0.5, 0.5, 0.5)


class Spec(ModelSpec):
    """The knobs of clip_window. Sizes and weights are the published ones, forms the corrected ones."""

    TERMS: ClassVar[tuple[str, ...]] = ("id", "triplet")

    name: Literal["clip_window"] = "clip_window"
    backbone: Annotated[str, AfterValidator(known_name)] = "tiny-clip"  # a preset, a Hugging Face id, or a folder
    pretrained: bool = True
    roles: Annotated[tuple[str, ...], Choice(("rgb",), SPECTRA)] = ("rgb",)  # one modality, or those of a moment
    image_size: tuple[Positive, Positive] | None = None  # height, width; null: as the data delivers them
    stride: Positive | None = None  # of the patches; null: their size
    pixels: Literal["clip", "as_published"] = "clip"  # mean and deviation: CLIP's own; .5, as MambaPro and CLIP-ReID
    windows: WindowSpec | None = WindowSpec()
    tokens: Literal["as_published", "before_projection"] = "before_projection"  # what the windows run over
    sie: SideSpec | None = SideSpec()
    adapter: AdapterSpec | None = None
    prompt: PromptSpec | None = None
    aggregator: Annotated[MambaSpec | None, LATER] = None  # has a head of its own, and is what images are found by
    freeze: bool = False  # the trunk learns nothing, what is put into it does
    features: Literal["projected", "clip_reid"] = "projected"
    # one head on the features of all roles side by side; a head for each; one that reads each (MambaPro's DIRECT: 0)
    direct: Literal["concatenated", "each", "shared"] = "concatenated"
    neck: bool = True  # a BatchNorm between the feature and the classifier
    id: Annotated[Weight, Tune(0.1, 2.0, log=True)] = 0.25
    smoothing: Annotated[float, Field(ge=0, lt=1), Tune(0.0, 0.2)] = 0.1
    smoothed_over: Spread = "all"
    triplet: Annotated[Weight, Tune(0.1, 2.0, log=True)] = 1.0
    margin: Annotated[Annotated[float, Field(ge=0)] | None, Tune(0.1, 0.5)] = None  # null: soft, as MambaPro's
    retrieval: Literal["before_neck", "after_neck"] = "before_neck"
    new_lr_factor: Annotated[float, Field(gt=0), Tune(1.0, 20.0, log=True)] = 5.0
    bias_lr_factor: Annotated[float, Field(gt=0)] = 2.0

    @field_validator("roles")
    @classmethod
    def _known(cls, roles: tuple[str, ...]) -> tuple[str, ...]:
        for role in roles:
            if role not in SPECTRA:
                raise ValueError(unknown("spectrum", role, SPECTRA))
        if not roles or len(set(roles)) < len(roles):
            raise ValueError(f"name at least one of {', '.join(SPECTRA)}, and each once")
        return roles

    @model_validator(mode="after")
    def _used(self) -> Spec:
        several = len(self.roles) > 1
        if self.windows is None and self.tokens == "as_published":
            raise Misfit("tokens", "it is what the windows run over, and windows is null", because="windows")
        if self.direct != "concatenated" and not several:
            raise Misfit("direct", f"'{self.direct}' is a way to read several roles, and there is one", because="roles")
        if self.aggregator is not None and not several:
            raise Misfit("aggregator", "it mixes the tokens of several roles, and there is one", because="roles")
        if self.features == "clip_reid" and several:
            raise Misfit("features", "'clip_reid' reads one modality; name one role", because="roles")
        if self.smoothing and not on(self.id):
            raise Misfit("smoothing", "the labels of id are smoothed, and id is off; set it to 0", because="id")
        if self.smoothed_over == "others" and not self.smoothing:
            raise Misfit("smoothed_over", "nothing is smoothed: smoothing is 0", because="smoothing")
        if self.margin is not None and not on(self.triplet):
            raise Misfit("margin", "it is the triplets', and triplet is off", because="triplet")
        if self.retrieval == "after_neck" and not (self.neck and on(self.id)):
            what = "there is no neck: neck is false, or id, which alone trains it, is off"
            raise Misfit("retrieval", what, because="neck")
        return self


@final
class Head(nn.Module):
    """Neck and classifier of one feature."""

    def __init__(self, width: int, identities: int, *, neck: bool, classify: bool) -> None:
        super().__init__()
        self.neck: BNNeck | NoNeck = BNNeck(width) if neck and classify else NoNeck()
        self.identity = Classifier(width, identities, bias=False) if classify else None

    def forward(self, feature: Tensor) -> dict[str, Tensor]:
        """(n, D) -> `logits` (n, identities); nothing without a classifier."""
        if self.identity is None:
            return {}
        if not len(feature):
            return {"logits": feature.new_zeros(0, self.identity.linear.out_features)}
        return {"logits": self.identity(x=self.neck(feature))["x_logits"]}


@final
class ClipWindow(Architecture):
    """The model: CLIP's image tower, what is put into it, windows over its tokens, and a head for each feature."""

    def __init__(self, spec: Spec, facts: Facts, seed: int) -> None:
        super().__init__()
        size = spec.image_size or facts.image_size
        clip = backbones.clip(spec.backbone, image_size=size, stride=spec.stride, pretrained=spec.pretrained, seed=seed)
        inner = clip.config.vision.transformer
        self.vision, self.projection = clip.vision, clip.vision_projection
        if spec.freeze:
            self.vision.requires_grad_(False)
            self.projection.requires_grad_(False)
        self.sie = side_information(spec.sie, inner.width, facts.cameras, facts.labels.get(VIEWS, 0), seed)
        self.synergy: SynergisticBlocks | PlainBlocks = PlainBlocks()
        if spec.adapter is not None or spec.prompt is not None:
            self.synergy = SynergisticBlocks(
                inner.layers, inner.width, len(spec.roles), adapter=spec.adapter, prompt=spec.prompt, seed=seed
            )
        self.projects_first = spec.tokens == "as_published"
        width = clip.width if self.projects_first else inner.width
        self.windows: WindowedToken | ClassToken = ClassToken(width)
        if spec.windows is not None:
            self.windows = WindowedToken(width, clip.vision.embed.grid, spec.windows.windows(), seed=seed)

        feature = clip.width * (self.windows.width // width)
        self.roles = spec.roles
        self.widths = dict.fromkeys(spec.roles, feature)  # of what has a head, in order
        if len(spec.roles) > 1 and spec.direct == "concatenated":
            self.widths = {ALL: feature * len(spec.roles)}
        elif spec.features == "clip_reid":
            self.widths = {HIDDEN: inner.width, PROJECTED: feature}
        # What is retrieved: items with their widths, and the head of them all, where there is one.
        self.retrieved = dict.fromkeys(spec.roles, feature) if ALL in self.widths else dict(self.widths)
        self.joint = ALL if ALL in self.widths else None
        self.aggregator: Aggregator | None = None
        if spec.aggregator is not None:
            grid = clip.vision.embed.grid
            self.aggregator = Aggregator(spec.aggregator, clip.width, feature, grid, len(spec.roles), seed=seed)
            self.retrieved, self.joint = dict.fromkeys(map(_fused, spec.roles), feature), FUSED
        self.heads = nn.ModuleDict()
        named = ("shared",) if spec.direct == "shared" else tuple(self.widths)
        if self.aggregator is not None:
            self.widths[FUSED] = feature * len(spec.roles)
            named = (*named, FUSED)
        for name in named:
            with stream(seed, "head", name):
                head = Head(
                    next(iter(self.widths.values())) if name == "shared" else self.widths[name],
                    facts.identities,
                    neck=spec.neck,
                    classify=on(spec.id),
                )
                self.heads[name] = head
        self.early = spec.features == "clip_reid"
        self.after = spec.retrieval == "after_neck"

        mean, std = (CLIP_MEAN, CLIP_STD) if spec.pixels == "clip" else (_HALF, _HALF)
        self.inputs = {role: InputSpec(size=size, mean=mean, std=std) for role in spec.roles}
        self.terms = tuple(_terms(spec, tuple(self.widths), early=self.early))
        self.diagnostics = tuple(
            Term(f"{name}_accuracy", accuracy(f"{name}_logits", f"{name}_pids"), (f"{name}_logits", f"{name}_pids"))
            for name in self.widths
            if on(spec.id)
        )
        self.factors = (spec.new_lr_factor, spec.bias_lr_factor)

    def encode(self, batch: Batch) -> Encoded:
        """Items: the feature (n, D) of every image under its role; CLIP-ReID's under their names."""
        return Encoded(self._read(batch), batch.groups)

    def values(self, encoded: Encoded, progress: Progress) -> dict[str, Tensor]:
        """For each feature NAME that has a head: NAME_feature (n, D), in front of the neck, NAME_pids, NAME_logits.

        A feature that no group has is one of no rows; the concatenated one is of the groups that have all roles.
        Nothing for a batch without images.
        """
        if not encoded.items:
            return {}
        pids = encoded.groups["pids"]
        found: dict[str, Tensor] = {}
        for name, item in self._features(encoded.items, len(pids)).items():
            found |= {f"{name}_feature": item.values, f"{name}_pids": pids[item.rows]}
            if name != EARLY:
                logits = self._head(name)(item.values)
                found |= {f"{name}_{key}": value for key, value in logits.items()}
        return found

    def embed(self, batch: Batch) -> Tensor:
        """(B, D): the features of a group side by side, 0 for a role that it lacks; normalised as a whole.

        Raises DataError for a group without any image.
        """
        items = self._read(batch)
        has = torch.zeros(batch.size, dtype=torch.bool, device=batch.device)
        for item in items.values():
            has[item.rows] = True
        if not bool(has.all()):
            lost = int((~has).sum())
            raise DataError(f"{lost} of {batch.size} groups have no image; one of {', '.join(self.roles)} is needed")
        blocks, there = [], []
        for name, width in self.retrieved.items():
            block = torch.zeros(batch.size, width, device=batch.device)
            present = torch.zeros(batch.size, 1, device=batch.device)
            if name in items:
                block = block.index_copy(0, items[name].rows, items[name].values)
                present = present.index_fill(0, items[name].rows, 1.0)
            blocks.append(self._behind(name, block) if self.after and self.joint is None else block)
            there.append(present.expand(-1, width))
        whole = torch.cat(blocks, dim=1)
        if self.after and self.joint is not None:
            whole = self._behind(self.joint, whole)
        return F.normalize(whole * torch.cat(there, dim=1), dim=1)

    def group_rule(self, parameter: str) -> GroupRule:
        """The trunk at the base rate, all else `new_lr_factor` times as fast; a bias `bias_lr_factor` times that."""
        new_lr, bias_lr = self.factors
        name, factor = ("trunk", 1.0) if parameter.startswith(("vision.", "projection.")) else ("new", new_lr)
        return GroupRule(f"{name}_bias", factor * bias_lr) if parameter.endswith("bias") else GroupRule(name, factor)

    def _read(self, batch: Batch) -> dict[str, Input]:
        """The features of a batch's images, all roles in one pass through the trunk; float32."""
        inputs = {role: batch.inputs[role] for role in self.roles if role in batch.inputs}
        if not inputs:
            return {}
        counts = [len(item.rows) for item in inputs.values()]
        rows = torch.cat([item.rows for item in inputs.values()])
        numbers = torch.tensor([self.roles.index(role) for role in inputs])
        route = numbers.repeat_interleave(torch.tensor(counts)).to(rows.device)
        missing = torch.full_like(batch.groups["pids"], -1)
        camids, scenes = (batch.groups.get(label, missing)[rows] for label in ("camids", "scenes"))
        x = self.vision.embed(torch.cat([item.values for item in inputs.values()]))
        x = self.vision.norm_pre(self.sie(x, camids, scenes))
        x, before = self.synergy(self.vision.blocks, x, route)
        x = self.vision.norm(x)
        if self.projects_first:
            tokens = self.projection(x)
            feature = self.windows(tokens)
        else:
            whole = self.windows(x)
            feature = self.projection(whole.view(len(whole), -1, x.shape[2])).flatten(1)
        if self.early:
            named = {HIDDEN: x[:, 0], PROJECTED: feature, EARLY: before[:, 0]}
            return {name: Input(value.float(), rows) for name, value in named.items()}
        found = _by_role(feature, inputs, counts)
        if self.aggregator is not None:
            patches = tokens[:, 1:] if self.projects_first else self.projection(x[:, 1:])
            fused = _by_role(self.aggregator(feature, patches, route, rows), inputs, counts)
            found |= {_fused(role): item for role, item in fused.items()}
        return found

    def _features(self, items: Mapping[str, Input], groups: int) -> dict[str, Input]:
        """The features that losses read, by name, each there, if with no rows."""
        some = next(iter(items.values()))
        none = Input(some.values[:0], some.rows[:0])
        joined = {ALL: self.roles, FUSED: tuple(map(_fused, self.roles))}
        wanted = (*self.widths, EARLY) if self.early else self.widths
        return {n: _whole(items, joined[n], groups) if n in joined else items.get(n, none) for n in wanted}

    def _head(self, name: str) -> nn.Module:
        return self.heads[name if name in self.heads else "shared"]

    def _behind(self, name: str, feature: Tensor) -> Tensor:
        return self._head(name).neck(feature)  # type: ignore[operator, no-any-return]


def _fused(role: str) -> str:
    """The item of a role's feature behind the aggregator."""
    return f"{role}_{FUSED}"


def _by_role(feature: Tensor, inputs: Mapping[str, Input], counts: list[int]) -> dict[str, Input]:
    parts = zip(torch.split(feature.float(), counts), inputs.items(), strict=True)
    return {role: Input(value, item.rows) for value, (role, item) in parts}


def _whole(items: Mapping[str, Input], names: tuple[str, ...], groups: int) -> Input:
    """The features of these names side by side, of the groups that have them all."""
    place = torch.full((len(names), groups), -1, dtype=torch.int64)
    for number, name in enumerate(names):
        if name in items:
            place[number, items[name].rows.cpu()] = torch.arange(len(items[name].rows))
    rows = torch.nonzero((place >= 0).all(dim=0)).flatten()
    if not len(rows):
        some = next(iter(items.values()))
        return Input(some.values[:0].repeat(1, len(names)), some.rows[:0])
    device = items[names[0]].rows.device
    values = [items[name].values[place[number, rows].to(device)] for number, name in enumerate(names)]
    return Input(torch.cat(values, dim=1), rows.to(device))


def _summed(column: str, fn: Callable[[Tensor, Tensor], Sum], names: tuple[str, ...]) -> Callable[..., Sum]:
    """`fn` of the column and the identities of every feature by itself; the sum of the means, as published."""

    def loss(**values: Tensor) -> Sum:
        sums = [fn(values[f"{name}_{column}"], values[f"{name}_pids"]) for name in names]
        total = torch.stack([one.total / one.count.clamp(min=1) for one in sums]).sum()
        return Sum(total, torch.stack([one.count for one in sums]).amax().clamp(max=1))

    return loss


def _terms(spec: Spec, names: tuple[str, ...], *, early: bool) -> Iterator[Term]:
    """The losses that are on."""
    if spec.id is not None and on(spec.id):
        entropy = partial(smoothed, epsilon=spec.smoothing, spread=spec.smoothed_over)
        needs = tuple(f"{name}_{column}" for name in names for column in ("logits", "pids"))
        yield Term("id", _summed("logits", entropy, names), needs, build(spec.id))
    if spec.triplet is not None and on(spec.triplet):
        compared = (*names, EARLY) if early else names
        needs = tuple(f"{name}_{column}" for name in compared for column in ("feature", "pids"))
        hardest = partial(triplet, margin=spec.margin)
        yield Term("triplet", _summed("feature", hardest, compared), needs, build(spec.triplet))

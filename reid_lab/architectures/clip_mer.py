"""CLIP+MER: an omni-modal system that is described by its authors' design document alone (PRCV2025REID,
`docs/CLIP_MER_Architecture.md`, 2025-08-20); no code is public.

Images of every modality pass through one CLIP trunk, each behind a patch embedding of its own and through
low-rank adapters of its own (MER, the modality-expert router); captions pass through CLIP's text tower.
Whatever modalities a group has become one feature (fusion), which an identity classifier and retrieval
use; a semantic module and an alignment with rgb shape the features in training.

The document leaves much open: docs/architectures/clip_mer.md says what is taken from it, what was chosen
and why. A field whose value is `as_published` has what the document says, weak points included
(docs/architectures/clip_mer.md lists them); its other values correct that.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, ClassVar, Literal, final

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, Field, field_validator, model_validator
from torch import Tensor, nn

from reid_lab.contracts import (
    IMAGE_ROLES,
    ROLES,
    Architecture,
    Batch,
    Encoded,
    Facts,
    GroupRule,
    Input,
    InputSpec,
    Term,
)
from reid_lab.errors import SpecError, unknown
from reid_lab.parts import backbones
from reid_lab.parts.captions import caption_input
from reid_lab.parts.channels import Channels
from reid_lab.parts.heads import Classifier, NoClassifier
from reid_lab.parts.locate import known_name
from reid_lab.parts.lora import LoraSpec, adapt
from reid_lab.parts.losses.anchored import anchored
from reid_lab.parts.losses.rows import cross_entropy, mean_square, norm, right
from reid_lab.parts.modalities import ModalText, ModalVision
from reid_lab.parts.subsets import (
    AttentionFusion,
    ConcatFusion,
    Mean,
    MeanDirection,
    NoSemantic,
    Semantic,
    SubsetFusion,
    check_present,
    stacked,
)
from reid_lab.parts.towers import CLIP_MEAN, CLIP_STD, Tokenizer
from reid_lab.schedules import Progress
from reid_lab.seeding import stream, uniform
from reid_lab.spec.run import ModelSpec, Positive
from reid_lab.spec.schedule import build
from reid_lab.spec.section import Section, Tune
from reid_lab.spec.weight import Weight, on

RESULT_VERSION = 1

Factor = Annotated[float, Field(gt=0)]


class MerSpec(LoraSpec):
    """The adapters, one per image modality; `text` gives the text tower some, too."""

    text: bool = False


class SemanticSpec(Section):
    """The semantic module. `path`: `as_published`, in training alone; `same`, for retrieval, too."""

    form: Literal["as_published", "modality_tokens"] = "as_published"
    path: Literal["as_published", "same"] = "as_published"
    dim: Positive | None = None  # null: the width of the features, 512
    heads: Positive = 8
    residual: bool = False


class AlignmentSpec(Section):
    """Alignment of every other modality with rgb; `queries`: the fusion of all but rgb is aligned, too."""

    weight: Annotated[Weight, Tune(0.05, 2.0, log=True)] = 0.1
    form: Literal["as_published", "supcon", "margin", "sdm"] = "as_published"
    temperature: Annotated[float, Field(gt=0), Tune(0.01, 0.2, log=True)] = 0.1
    margin: Annotated[float, Field(gt=0)] = 0.3  # of the form `margin`
    queries: bool = False


class FusionSpec(Section):
    """How the features that there are become one; null: the mean of their directions."""

    kind: Literal["attention", "concat", "mean"] = "attention"
    heads: Positive = 8  # of attention
    hidden: Positive | None = None  # null: twice the width


class IdentitySpec(Section):
    """The identity loss, on the fused feature, on each modality's own, or on both."""

    weight: Annotated[Weight, Tune(0.1, 2.0, log=True)] = 1.0
    reads: Literal["fused", "each", "both"] = "fused"


class RatesSpec(Section):
    """Learning rates as multiples of the trunk's."""

    adapters: Annotated[Factor, Tune(1.0, 20.0, log=True)] = 5.0
    tokenizers: Annotated[Factor, Tune(1.0, 20.0, log=True)] = 5.0
    projections: Annotated[Factor, Tune(1.0, 20.0, log=True)] = 5.0
    fusion: Annotated[Factor, Tune(1.0, 20.0, log=True)] = 5.0  # and the semantic module, and the classifier


class Spec(ModelSpec):
    """The knobs of CLIP+MER; the defaults are those of the document, but for the trunk."""

    TERMS: ClassVar[tuple[str, ...]] = ("id", "alignment", "penalty")

    name: Literal["clip_mer"] = "clip_mer"
    backbone: Annotated[str, AfterValidator(known_name)] = "tiny-clip"  # a preset, a Hugging Face id, or a folder
    pretrained: bool = True
    image_size: tuple[Positive, Positive] | None = None  # height, width; null: as the data delivers them
    stride: Positive | None = None  # of the patches; null: their size
    text_length: Annotated[int, Field(ge=3)] | None = None  # tokens of a caption; null: the trunk's context
    modalities: tuple[str, ...] = ("rgb", "nir", "cpencil", "sketch", "caption")
    one_channel: tuple[str, ...] = ("nir", "tir", "sketch")  # modalities whose patch embedding reads one channel
    grey_inputs: tuple[str, ...] = ()  # modalities whose images are delivered with one channel
    channels: Literal["as_published", "replicate", "luma"] = "as_published"  # where the two differ
    grey_start: Literal["mean", "sum"] = "mean"  # a patch embedding of one channel begins as this of CLIP's three
    tokenizer: Literal["patches", "whole"] = "patches"  # what each modality has of its own
    noise: Annotated[float, Field(ge=0), Tune(1e-3, 5e-2, log=True)] = 0.02  # on every patch embedding but rgb's
    fusion_dim: Positive | None = 512  # width of the features; null: that of the trunk's projection
    trunk: Literal["low_lr", "frozen"] = "low_lr"
    mer: MerSpec | None = MerSpec()
    semantic: SemanticSpec | None = SemanticSpec()
    alignment: AlignmentSpec | None = AlignmentSpec()
    fusion: FusionSpec | None = FusionSpec()
    modality_dropout: Annotated[float, Field(ge=0, lt=1), Tune(0.0, 0.5)] = 0.0  # in training, before fusion
    id: IdentitySpec | None = IdentitySpec()
    penalty: Annotated[Weight, Tune(0.01, 2.0, log=True)] = None  # of the fused feature's mean square
    rates: RatesSpec = RatesSpec()

    @field_validator("modalities", "one_channel", "grey_inputs")
    @classmethod
    def _roles(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in ROLES:
                raise ValueError(unknown("modality", name, ROLES))
        if len(set(names)) < len(names):
            raise ValueError("each modality may be named once")
        return names

    @model_validator(mode="after")
    def _fitting(self) -> Spec:
        if not any(role in IMAGE_ROLES for role in self.modalities):
            raise ValueError(f"modalities must name at least one of {', '.join(IMAGE_ROLES)}")
        if self.alignment is not None and "rgb" not in self.modalities:
            raise ValueError("alignment is with rgb, which is not among the modalities; set alignment to null")
        return self


@dataclass(frozen=True)
class _Plan:
    """How `values` makes the terms' inputs."""

    reads: Literal["fused", "each", "both"]
    queries: bool
    drop: float


@final
class ClipMer(Architecture):
    """The model: tokenizers, one trunk, adapters, and what makes one feature of several."""

    def __init__(self, spec: Spec, facts: Facts, seed: int) -> None:
        super().__init__()
        size = spec.image_size or facts.image_size
        clip = backbones.clip(spec.backbone, image_size=size, stride=spec.stride, pretrained=spec.pretrained, seed=seed)
        self.roles = spec.modalities
        images = [role for role in self.roles if role in IMAGE_ROLES]
        texts = [role for role in self.roles if role not in IMAGE_ROLES]
        read = {role: 1 if role in spec.one_channel else 3 for role in images}
        given = {role: 1 if role in spec.grey_inputs else 3 for role in images}

        own: Literal["patches", "tokenizer"] = "patches" if spec.tokenizer == "patches" else "tokenizer"
        self.channels = nn.ModuleDict()
        for role in images:
            with stream(seed, "channels", role):
                self.channels[role] = Channels(given[role], read[role], spec.channels)
        self.vision = ModalVision(clip, read, own=own, grey=spec.grey_start, noise=spec.noise, seed=seed)
        self.text: ModalText | None = ModalText(clip) if texts else None
        if spec.mer is not None:
            adapt(self.vision.blocks, images, spec.mer.lora(), seed=seed, part="mer")
            if spec.mer.text and self.text is not None:
                adapt(self.text.tower.blocks, ("text",), spec.mer.lora(), seed=seed, part="mer")
        self.width = spec.fusion_dim or clip.width
        self.widen: nn.Module = nn.Identity()
        if self.width != clip.width:
            with stream(seed, "widen"):
                self.widen = nn.Linear(clip.width, self.width, bias=False)
                nn.init.orthogonal_(self.widen.weight)

        self.semantic, seen = _semantic(spec.semantic, self.width, seed)
        self.unshaped = NoSemantic()
        self.shape = "semantic" if spec.semantic is not None and spec.semantic.path == "same" else "unshaped"
        with stream(seed, "fusion"):
            self.fusion = _fusion(spec.fusion, len(self.roles), seen)
        self.identity: Classifier | NoClassifier = NoClassifier()
        if spec.id is not None and on(spec.id.weight):
            with stream(seed, "identity"):
                self.identity = Classifier(seen, facts.identities)

        context = clip.config.text.context
        self.inputs = {role: _input(role, spec, size, clip.tokenizer, context) for role in self.roles}
        self.terms = tuple(_terms(spec))
        self.diagnostics = tuple(_diagnostics(self.terms))
        own_queries = spec.alignment is not None and on(spec.alignment.weight) and spec.alignment.queries
        self.plan = _Plan(spec.id.reads if spec.id is not None else "fused", own_queries, spec.modality_dropout)
        self.rates = {name: getattr(spec.rates, name) for name in RatesSpec.model_fields}
        self.own_tokenizer = own == "tokenizer"
        self.dead = _dead(spec, own_queries, fuses=any(True for _ in self.fusion.parameters()))
        if spec.trunk == "frozen":
            for name, parameter in self.named_parameters():
                parameter.requires_grad_(self.group_rule(name).name != "trunk")

    def encode(self, batch: Batch) -> Encoded:
        """Items by role: features (n, D) float32. All images go through the trunk in one pass."""
        pixels = {
            role: self.channels[role](batch.inputs[role].values) for role in self.channels if role in batch.inputs
        }
        found = self.vision.features(pixels)
        for role in self.roles:
            if self.text is not None and role not in self.channels and role in batch.inputs:
                found[role] = self.text.features(batch.inputs[role].values)
        items = {role: Input(self.widen(found[role]).float(), batch.inputs[role].rows) for role in found}
        return Encoded(items, batch.groups)

    def values(self, encoded: Encoded, progress: Progress) -> dict[str, Tensor]:
        """`features` (B, M, D), `present` (B, M), `fused` (B, D), `pids`; logits and their labels, -1: none.

        With `alignment.queries` a further column of `features` holds the fusion of all modalities but rgb.
        """
        features, present = self._stack(encoded)
        pids = encoded.groups["pids"]
        features = self.semantic(features, present)
        kept = self._kept(present, encoded.groups)
        fused = self.fusion(features, kept)
        logits = self._logits(features, present, fused, pids)
        if self.plan.queries:
            asking = kept & (torch.arange(len(self.roles), device=pids.device) != self.roles.index("rgb"))
            features = torch.cat([features, self.fusion(features, asking)[:, None]], dim=1)
            present = torch.cat([present, asking.sum(dim=1, keepdim=True) > 1], dim=1)
        return {"features": features, "present": present, "fused": fused, "pids": pids, **logits}

    def embed(self, batch: Batch) -> Tensor:
        """(B, D): the fusion of whatever inputs a group has."""
        features, present = self._stack(self.encode(batch))
        features = self.get_submodule(self.shape)(features, present)
        return F.normalize(self.fusion(features, present).float(), dim=1)

    def group_rule(self, parameter: str) -> GroupRule:
        """By role: trunk, adapters, tokenizers, projections, fusion (with all that comes after)."""
        name = "trunk"
        if ".lora_" in parameter:
            name = "adapters"
        elif parameter.startswith(("channels.", "vision.tokenizers.")):
            shared = parameter.startswith("vision.") and not self.own_tokenizer and ".embed.conv." not in parameter
            name = "trunk" if shared else "tokenizers"
        elif parameter.startswith(("vision.projection.", "text.projection.", "widen.")):
            name = "projections"
        elif parameter.startswith(("semantic.", "fusion.", "identity.")):
            name = "fusion"
        return GroupRule(name, self.rates.get(name, 1.0))

    def _stack(self, encoded: Encoded) -> tuple[Tensor, Tensor]:
        pids = encoded.groups["pids"]
        found = [encoded.items.get(role) for role in self.roles]
        features, present = stacked(found, len(pids), self.width, pids.device)
        check_present(present, self.roles)
        return features, present

    def _kept(self, present: Tensor, groups: Mapping[str, Tensor]) -> Tensor:
        """The modalities that fusion sees in training: some are dropped, one of each group stays."""
        if not self.training or not self.plan.drop:
            return present
        luck = uniform(groups["keys"], "modality_dropout", present.shape[1]).masked_fill(~present, -1.0)
        last = luck == luck.amax(dim=1, keepdim=True)
        return present & ((luck >= self.plan.drop) | last)

    def _logits(self, features: Tensor, present: Tensor, fused: Tensor, pids: Tensor) -> dict[str, Tensor]:
        rows, labels = [], []
        if self.plan.reads != "each":
            rows, labels = [fused], [pids]
        if self.plan.reads != "fused":
            rows.append(features.flatten(0, 1))
            labels.append(torch.where(present, pids[:, None], -1).flatten())
        found = self.identity(id=torch.cat(rows))
        return {**found, "id_labels": torch.cat(labels)} if found else {}


def _input(role: str, spec: Spec, size: tuple[int, int], tokenizer: Tokenizer, context: int) -> InputSpec:
    if role not in IMAGE_ROLES:
        return caption_input(tokenizer, spec.text_length or context, context, spec.backbone)
    if role in spec.grey_inputs:
        return InputSpec(size=size, channels=1, mean=(sum(CLIP_MEAN) / 3,), std=(sum(CLIP_STD) / 3,))
    return InputSpec(size=size, mean=CLIP_MEAN, std=CLIP_STD)


def _semantic(spec: SemanticSpec | None, width: int, seed: int) -> tuple[Semantic | NoSemantic, int]:
    """The semantic module and the width of what it gives."""
    if spec is None:
        return NoSemantic(), width
    output = spec.dim or width
    if spec.path == "as_published" and output != width:
        raise SpecError(
            f"model.semantic.dim {output} is not the features' width of {width}, which fusion reads without the "
            "module at retrieval; set dim to null, or path to same"
        )
    return Semantic(width, output, spec.heads, form=spec.form, residual=spec.residual, seed=seed), output


def _fusion(spec: FusionSpec | None, modalities: int, width: int) -> SubsetFusion:
    if spec is None:
        return MeanDirection()
    hidden = spec.hidden or 2 * width
    if spec.kind == "concat":
        return ConcatFusion(modalities, width, hidden)
    if spec.kind == "mean":
        return Mean()
    if width % spec.heads:
        raise SpecError(f"model.fusion.heads: {spec.heads} heads do not divide a width of {width}")
    return AttentionFusion(width, spec.heads, hidden)


def _dead(spec: Spec, queries: bool, *, fuses: bool) -> tuple[str, ...]:
    """What no loss reaches: queries and keys over a single token; a fusion that no loss reads."""
    found: tuple[str, ...] = ()
    if spec.semantic is not None and spec.semantic.form == "as_published":
        found = ("semantic.q.*", "semantic.k.*")
    read = spec.id is not None and on(spec.id.weight) and spec.id.reads != "each"
    return found if read or queries or on(spec.penalty) or not fuses else (*found, "fusion.*")


def _terms(spec: Spec) -> list[Term]:
    """The losses that are on."""
    found = []
    if spec.id is not None and spec.id.weight is not None and on(spec.id.weight):
        found.append(Term("id", cross_entropy, ("id_logits", "id_labels"), build(spec.id.weight)))
    align = spec.alignment
    if align is not None and align.weight is not None and on(align.weight):
        fn = partial(
            anchored,
            anchor=spec.modalities.index("rgb"),
            form=align.form,
            temperature=align.temperature,
            margin=align.margin,
        )
        found.append(Term("alignment", fn, ("features", "present", "pids"), build(align.weight)))
    if spec.penalty is not None and on(spec.penalty):
        found.append(Term("penalty", mean_square, ("fused",), build(spec.penalty)))
    return found


def _diagnostics(terms: tuple[Term, ...]) -> list[Term]:
    """The length of the fused feature; the accuracy of the classifier, where there is one."""
    found = [Term("feature_norm", norm, ("fused",))]
    if any(term.name == "id" for term in terms):
        found.append(Term("id_accuracy", right, ("id_logits", "id_labels")))
    return found

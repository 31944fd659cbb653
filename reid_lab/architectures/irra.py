"""IRRA: Jiang and Ye, "Cross-Modal Implicit Relation Reasoning and Aligning for Text-to-Image Person
Retrieval", CVPR 2023 (arXiv 2303.12501); the authors' code at github.com/anosorae/IRRA, commit cfc2378.

A CLIP trunk whose image and text features are matched by similarity distribution matching (SDM) and
an identity classifier, while a cross-modal transformer predicts masked words from image tokens (MLM).

As in the code, where it differs from the paper: 384x128 pixels give 193 tokens; a bias is learned at
twice the rate and without weight decay, the classifier's and the MLM head's biases at the new
modules' rate; the word features that the cross-modal transformer reads include padding. Different
from the code: the masks come from each sample's own key, the end token is never masked, and image
and text features stay float32 in mixed precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Annotated, ClassVar, Literal, final

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, Field, model_validator
from torch import Tensor, nn

from reid_lab.contracts import Architecture, Batch, Encoded, Facts, GroupRule, Input, InputSpec, Sum, Term
from reid_lab.parts import backbones
from reid_lab.parts.captions import caption_input
from reid_lab.parts.heads import Classifier, NoClassifier
from reid_lab.parts.locate import known_name
from reid_lab.parts.losses.accuracy import accuracy
from reid_lab.parts.losses.cmpm import cmpm
from reid_lab.parts.losses.identity import identity
from reid_lab.parts.losses.itc import itc
from reid_lab.parts.losses.mlm import mlm
from reid_lab.parts.losses.sdm import sdm, soft_sdm
from reid_lab.parts.masking import IGNORED, Masking, mask_tokens
from reid_lab.parts.pairing import pairs
from reid_lab.parts.towers import CLIP_MEAN, CLIP_STD, ClipTrunk, initialise_blocks
from reid_lab.parts.trunk import Blocks, CrossAttention, TransformerConfig, quick_gelu
from reid_lab.schedules import Progress, Schedule, constant
from reid_lab.seeding import stream
from reid_lab.spec.run import ModelSpec, Positive, Unit
from reid_lab.spec.schedule import ChainSpec, ScheduleSpec, StepSpec, build
from reid_lab.spec.section import Choice, Section, Tune
from reid_lab.spec.weight import Weight, on

RESULT_VERSION = 2


class SoftLabelSpec(Section):
    """SDM's label for another image of the same identity; IRRA's code has it (columns), never uses it."""

    value: Annotated[float, Field(ge=0, le=1)] = 0.3
    normalise: Annotated[Literal["rows", "columns"], Choice("rows", "columns")] = "rows"


class MlmSpec(Section):
    """Masked language modelling: `rate` of the tokens, of these `mask`, `random` and `keep`."""

    weight: Annotated[Weight, Tune(0.1, 2.0, log=True)] = 1.0
    depth: Annotated[int, Field(ge=0), Tune(0, 6)] = 4  # blocks of the cross-modal transformer
    rate: Annotated[float, Field(gt=0, le=1), Tune(0.05, 0.4)] = 0.15
    mask: Unit = 0.8
    random: Unit = 0.1
    keep: Unit = 0.1

    @model_validator(mode="after")
    def _whole(self) -> MlmSpec:
        total = self.mask + self.random + self.keep
        if not math.isclose(total, 1.0, abs_tol=1e-9):
            raise ValueError(f"mask + random + keep must be 1; got {total:g}")
        return self


class Spec(ModelSpec):
    """The knobs of IRRA; the defaults are the published ones (SDM + ID + MLM)."""

    TERMS: ClassVar[tuple[str, ...]] = ("sdm", "itc", "cmpm", "id", "mlm")

    name: Literal["irra"] = "irra"
    backbone: Annotated[str, AfterValidator(known_name)] = "tiny-clip"  # a preset, a Hugging Face id, or a folder
    pretrained: bool = True
    image_size: tuple[Positive, Positive] | None = None  # height, width; null: as the data delivers them
    stride: Positive | None = None  # of the patches; null: their size
    text_length: Annotated[int, Field(ge=3)] | None = None  # tokens of a caption; null: the trunk's context
    temperature: Annotated[Annotated[float, Field(gt=0)] | ScheduleSpec, Tune(0.01, 0.2, log=True)] = 0.02
    sdm: Annotated[Weight, Tune(0.1, 2.0, log=True)] = 1.0
    soft_label: SoftLabelSpec | None = None
    itc: Annotated[Weight, Tune(0.1, 2.0, log=True)] = None
    cmpm: Annotated[Weight, Tune(0.1, 2.0, log=True)] = None
    id: Annotated[Weight, Tune(0.1, 2.0, log=True)] = 1.0
    mlm: MlmSpec | None = MlmSpec()
    new_lr_factor: Annotated[float, Field(gt=0), Tune(1.0, 20.0, log=True)] = 5.0
    bias_lr_factor: Annotated[float, Field(gt=0)] = 2.0
    bias_weight_decay_factor: Annotated[float, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _used(self) -> Spec:
        if self.soft_label is not None and not on(self.sdm):
            raise ValueError("soft_label is a label of sdm, which is off; set soft_label to null")
        return self


@final
class WordHead(nn.Module):
    """Predicts a token from a joint feature."""

    def __init__(self, width: int, vocabulary: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.fc = nn.Linear(width, vocabulary)

    def forward(self, x: Tensor) -> Tensor:
        """(m, D) -> logits (m, vocabulary)."""
        return self.fc(self.norm(quick_gelu(self.dense(x))))  # type: ignore[no-any-return]


@final
class RelationReasoning(nn.Module):
    """Implicit relation reasoning (section 3.2): masked words attend to the image, then are predicted."""

    def __init__(self, width: int, vocabulary: int, depth: int, masking: Masking) -> None:
        super().__init__()
        self.masking = masking
        config = TransformerConfig(width, depth, _heads(width), 4 * width, "quick_gelu")
        self.ln_text = nn.LayerNorm(width)
        self.ln_image = nn.LayerNorm(width)
        self.cross_attn = CrossAttention(width, config.heads)
        self.cross_blocks = Blocks(config)
        self.ln_out = nn.LayerNorm(width)
        self.head = WordHead(width, vocabulary)

        narrow, deep = width**-0.5, (2 * max(depth, 1)) ** -0.5
        initialise_blocks(self.cross_blocks, config)
        nn.init.normal_(self.cross_attn.qkv.weight, std=narrow)
        nn.init.normal_(self.cross_attn.out.weight, std=narrow * deep)
        nn.init.normal_(self.head.dense.weight, std=(2 * width) ** -0.5)
        nn.init.normal_(self.head.fc.weight, std=narrow * deep)
        nn.init.zeros_(self.cross_attn.qkv.bias)
        nn.init.zeros_(self.cross_attn.out.bias)

    def forward(self, words: Tensor, image: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """Projected tokens of masked captions (n, L, D) and images (n, T, D), labels (n, L) -> logits of m words."""
        chosen = labels != IGNORED
        x = self.cross_attn(self.ln_text(words), self.ln_image(image))
        x = self.ln_out(self.cross_blocks.read(x, chosen))
        return {"mlm_logits": self.head(x), "mlm_labels": labels[chosen]}

    def read(
        self, trunk: ClipTrunk, ids: Tensor, text: Tensor, keys: Tensor, image: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Features (m, D) of captions `ids` (m, L); logits and labels of the masked words of those at `text` (n,).

        The masks are drawn from `keys` (n,), the words predicted from image tokens (n, T, D). A caption and its masked
        copy go through the text tower in one pass, what they begin with in common once.
        """
        masked, labels = mask_tokens(ids[text], keys, self.masking, trunk.tokenizer)
        words, ends = trunk.text.together(masked, ids, text)
        return trunk.project_text(ends), self(trunk.project_text(words), trunk.project_image(image), labels)


@final
class NoReasoning(nn.Module):
    """The empty `mlm` slot."""

    def read(
        self, trunk: ClipTrunk, ids: Tensor, text: Tensor, keys: Tensor, image: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The captions' features alone."""
        return caption_features(trunk, ids), {}


def caption_features(trunk: ClipTrunk, ids: Tensor) -> Tensor:
    """Features (m, D) of captions (m, L), without the padding behind the longest, which no causal token sees."""
    longest = int(ids.argmax(dim=1).max()) + 1 if len(ids) else ids.shape[1]
    return trunk.text_features(ids[:, :longest])


@final
class Irra(Architecture):
    """The model: a CLIP trunk, and the parts that its losses need."""

    def __init__(self, spec: Spec, facts: Facts, seed: int) -> None:
        super().__init__()
        size = spec.image_size or facts.image_size
        self.trunk = backbones.clip(
            spec.backbone, image_size=size, stride=spec.stride, pretrained=spec.pretrained, seed=seed
        )
        context = self.trunk.config.text.context
        caption = caption_input(self.trunk.tokenizer, spec.text_length or context, context, spec.backbone)
        width = self.trunk.width
        mlm_spec = spec.mlm if spec.mlm is not None and on(spec.mlm.weight) else None
        self.identity: Classifier | NoClassifier = NoClassifier()
        if on(spec.id):
            with stream(seed, "identity"):
                self.identity = Classifier(width, facts.identities)
        self.mlm: RelationReasoning | NoReasoning = NoReasoning()
        if mlm_spec is not None:
            masking = Masking(mlm_spec.rate, mlm_spec.mask, mlm_spec.random)
            with stream(seed, "mlm"):
                self.mlm = RelationReasoning(width, self.trunk.config.text.vocabulary, mlm_spec.depth, masking)

        self.inputs = {"rgb": InputSpec(size=size, mean=CLIP_MEAN, std=CLIP_STD), "caption": caption}
        self.temperature = _schedule(build(spec.temperature))
        self.terms = tuple(_terms(spec, mlm_spec))
        self.diagnostics = tuple(_diagnostics(self.terms, spec.temperature))
        self.factors = (spec.new_lr_factor, spec.bias_lr_factor, spec.bias_weight_decay_factor)

    def encode(self, batch: Batch) -> Encoded:
        """Items `image` and `text` (n, D); local: logits and labels of the masked words of pairs."""
        items: dict[str, Input] = {}
        local: dict[str, Tensor] = {}
        rgb, caption = batch.inputs.get("rgb"), batch.inputs.get("caption")
        if caption is not None and rgb is None:
            items["text"] = Input(caption_features(self.trunk, caption.values).float(), caption.rows)
        if rgb is not None:
            tokens = self.trunk.image_tokens(rgb.values)
            items["image"] = Input(self.trunk.project_image(tokens[:, 0]).float(), rgb.rows)
            if caption is not None:
                image, text = pairs(rgb.rows, caption.rows, batch.size)
                keys = batch.groups["keys"][caption.rows[text]]
                features, local = self.mlm.read(self.trunk, caption.values, text, keys, tokens[image])
                items["text"] = Input(features.float(), caption.rows)
        return Encoded(items, batch.groups, local)

    def values(self, encoded: Encoded, progress: Progress) -> dict[str, Tensor]:
        """Features `image`, `text` (n, D) of the n pairs, their ids, the scale, and the classifier's logits."""
        if not {"image", "text"} <= encoded.items.keys():
            return {}
        images, texts = encoded.items["image"], encoded.items["text"]
        i, t = pairs(images.rows, texts.rows, len(encoded.groups["pids"]))
        image, text = images.values[i], texts.values[t]
        ids = {name: encoded.groups[name][texts.rows[t]] for name in ("pids", "image_ids") if name in encoded.groups}
        scale = torch.tensor(1.0 / self.temperature(progress), device=image.device)
        return {"image": image, "text": text, "scale": scale, **ids, **self.identity(image=image, text=text)}

    def embed(self, batch: Batch) -> Tensor:
        """(B, D): each group's image or caption; the mean direction of a group that has both."""
        found: list[Input] = []
        if (rgb := batch.inputs.get("rgb")) is not None:
            found.append(Input(self.trunk.image_features(rgb.values), rgb.rows))
        if (caption := batch.inputs.get("caption")) is not None:
            found.append(Input(caption_features(self.trunk, caption.values), caption.rows))
        total = torch.zeros(batch.size, self.trunk.width, device=batch.device)
        for item in found:
            total = total.index_add(0, item.rows, F.normalize(item.values.float(), dim=1))
        return F.normalize(total, dim=1)

    def group_rule(self, parameter: str) -> GroupRule:
        """As `build_optimizer` of the code: new modules faster; biases twice as fast and not decayed, heads' aside."""
        new_lr, bias_lr, bias_decay = self.factors
        head = parameter.startswith(("identity.", "mlm.head."))
        cross = parameter.startswith(("mlm.cross_attn.", "mlm.cross_blocks."))
        name = "head" if head else "cross" if cross else "trunk"
        if not parameter.endswith("bias"):
            return GroupRule(name, new_lr if head or cross else 1.0)
        return GroupRule(f"{name}.bias", new_lr if head else bias_lr, bias_decay)


def _schedule(value: float | Schedule) -> Schedule:
    return value if callable(value) else constant(value)


def _heads(width: int) -> int:
    """One head per 64 channels, as published; fewer where the width is no multiple of that."""
    return max(heads for heads in range(1, max(1, width // 64) + 1) if width % heads == 0)


def _terms(spec: Spec, mlm_spec: MlmSpec | None) -> list[Term]:
    """The losses that are on."""
    match: Callable[..., Sum] = sdm
    ids: tuple[str, ...] = ("pids",)
    if spec.soft_label is not None:
        match = partial(soft_sdm, value=spec.soft_label.value, normalise=spec.soft_label.normalise)
        ids = ("pids", "image_ids")
    known: list[tuple[str, Callable[..., Sum], tuple[str, ...], Weight, bool]] = [
        ("sdm", match, ("image", "text", "scale", *ids), spec.sdm, False),
        ("itc", itc, ("image", "text", "scale"), spec.itc, False),
        ("cmpm", cmpm, ("image", "text", "pids"), spec.cmpm, False),
        ("id", identity, ("image_logits", "text_logits", "pids"), spec.id, False),
        ("mlm", mlm, ("mlm_logits", "mlm_labels"), None if mlm_spec is None else mlm_spec.weight, True),
    ]
    return [Term(name, fn, needs, build(w), local) for name, fn, needs, w, local in known if w is not None and w != 0]


def _diagnostics(terms: tuple[Term, ...], temperature: float | ChainSpec | StepSpec) -> list[Term]:
    """Accuracies of the classifiers that the losses train, as the authors log them; a temperature that changes."""
    names = {term.name for term in terms}
    known = [
        ("id", "image_accuracy", ("image_logits", "pids"), False),
        ("id", "text_accuracy", ("text_logits", "pids"), False),
        ("mlm", "mlm_accuracy", ("mlm_logits", "mlm_labels"), True),
    ]
    found = [Term(name, accuracy(*needs), needs, local=local) for of, name, needs, local in known if of in names]
    if isinstance(temperature, Section):
        found.append(Term("temperature", lambda scale: 1.0 / scale, ("scale",)))
    return found

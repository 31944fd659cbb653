"""The pretraining of the tiny trunks: stand-ins for CLIP, ViT and BERT that two CPU cores can make.

Not a paper's architecture, and in no list: `reid-lab pretrain` runs these three through the one path
that every experiment takes, on a world that shares nobody with the benchmark.

* `pretrain_clip`: image-text contrast (Radford et al., 2021) with the true attributes as auxiliary
  supervision of the class token. Contrast alone learns slowly from ten thousand images; the attributes
  stand for what 400 million captions teach the real one.
* `pretrain_vit`: the attributes alone, as ImageNet's labels stand for objects.
* `pretrain_bert`: masked words of the captions (Devlin et al., 2019, section 3.1).
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from reid_lab.contracts import Architecture, Batch, Encoded, Facts, GroupRule, Input, InputSpec, Term
from reid_lab.parts.backbones import (
    FolderTokenizer,
    closed_tokenizer,
    write_bert_folder,
    write_clip_folder,
    write_vit_folder,
)
from reid_lab.parts.losses.itc import itc
from reid_lab.parts.losses.mlm import mlm
from reid_lab.parts.masking import IGNORED, Masking, mask_tokens
from reid_lab.parts.towers import (
    CLIP_MEAN,
    CLIP_STD,
    BertTrunk,
    ClipConfig,
    ClipTrunk,
    TextConfig,
    VisionConfig,
    VitTrunk,
)
from reid_lab.parts.trunk import TransformerConfig
from reid_lab.parts.vocabulary import bert_tokenizer_files, clip_tokenizer_files
from reid_lab.schedules import Progress
from reid_lab.seeding import stream
from reid_lab.spec.run import ModelSpec, Positive
from reid_lab.spec.section import Section

RESULT_VERSION = 1


class TowerSpec(Section):
    """Sizes of one transformer; the hidden width of its MLP is four times its width."""

    width: Positive = 128
    layers: Positive = 4
    heads: Positive = 4

    def config(self, activation: Literal["gelu", "quick_gelu"], eps: float) -> TransformerConfig:
        """The plain value."""
        return TransformerConfig(self.width, self.layers, self.heads, 4 * self.width, activation, eps)


class _ImageSpec(ModelSpec):
    vision: TowerSpec = TowerSpec()
    patch: Positive = 16
    attribute_weight: Annotated[float, Field(ge=0)] = 0.2


class ClipSpec(_ImageSpec):
    """The tiny CLIP."""

    name: Literal["pretrain_clip"] = "pretrain_clip"
    words: tuple[str, ...]
    vision: TowerSpec = TowerSpec(width=144, heads=3)
    text: TowerSpec = TowerSpec(width=96, layers=2)
    context: Positive = 64
    projection: Positive = 128
    temperature: Annotated[float, Field(gt=0)] = 0.07  # at the start; it is learned


class VitSpec(_ImageSpec):
    """The tiny ViT."""

    name: Literal["pretrain_vit"] = "pretrain_vit"
    attribute_weight: Annotated[float, Field(gt=0)] = 0.2


class BertSpec(ModelSpec):
    """The tiny BERT."""

    name: Literal["pretrain_bert"] = "pretrain_bert"
    words: tuple[str, ...]
    text: TowerSpec = TowerSpec(width=96, layers=2)
    context: Positive = 64
    rate: Annotated[float, Field(gt=0, lt=1)] = 0.15
    mask: Annotated[float, Field(ge=0, le=1)] = 0.8
    random: Annotated[float, Field(ge=0, le=1)] = 0.1


def grid_side(image_size: tuple[int, int], patch: int) -> int:
    """The side of the square position grid that a Hugging Face folder holds for this image size."""
    return math.lcm(image_size[0] // patch, image_size[1] // patch)


def image_input(facts: Facts) -> InputSpec:
    """Images as the data delivers them, normalised as CLIP's."""
    return InputSpec(size=facts.image_size, mean=CLIP_MEAN, std=CLIP_STD)


def text_input(tokenizer: FolderTokenizer, context: int) -> InputSpec:
    """Captions of at most `context` tokens."""
    return InputSpec(tokenize=partial(tokenizer, max_length=context), max_length=context, pad_id=tokenizer.pad_id)


@final
class Attributes(nn.Module):
    """A linear classifier of every attribute on one feature."""

    def __init__(self, width: int, labels: Mapping[str, int]) -> None:
        super().__init__()
        self.labels = dict(labels)
        self.classifier = nn.Linear(width, sum(labels.values()))

    def forward(self, feature: Tensor) -> Tensor:
        """(B, D) -> (B, values of all attributes)."""
        return self.classifier(feature)  # type: ignore[no-any-return]

    def true(self, groups: Mapping[str, Tensor]) -> Tensor:
        """The labels (B, attributes) of the groups."""
        return torch.stack([groups[name] for name in self.labels], dim=1)

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """The sum over the attributes of their mean cross-entropies."""
        parts = zip(torch.split(logits, list(self.labels.values()), dim=1), labels.unbind(dim=1), strict=True)
        return torch.stack([F.cross_entropy(part, label) for part, label in parts]).sum()


class Pretraining(Architecture):
    """What the three share: weight decay on matrices only, and the folder that `write` makes."""

    def group_rule(self, parameter: str) -> GroupRule:
        """Vectors (biases, norms, class tokens, the scale) are not decayed."""
        if self.get_parameter(parameter).ndim < 2:
            return GroupRule("vectors", weight_decay_factor=0.0)
        return GroupRule("matrices")

    @abstractmethod
    def write(self, folder: Path) -> None:
        """Writes the trunk as a Hugging Face folder."""


@final
class PretrainClip(Pretraining):
    """Contrast of images and captions, and the attributes of the image's class token."""

    def __init__(self, spec: ClipSpec, facts: Facts, seed: int) -> None:
        super().__init__()
        files = clip_tokenizer_files(spec.words, spec.context)
        self.tokenizer_files = files
        self.tokenizer = closed_tokenizer(files)
        vision = VisionConfig(spec.vision.config("gelu", 1e-5), spec.patch, grid_side(facts.image_size, spec.patch))
        text = TextConfig(spec.text.config("gelu", 1e-5), self.tokenizer.size, spec.context)
        with stream(seed, "backbone"):
            self.trunk = ClipTrunk(ClipConfig(vision, text, spec.projection), facts.image_size)
        with stream(seed, "attributes"):
            self.attributes = Attributes(spec.vision.width, facts.labels)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / spec.temperature)))
        self.inputs = {"rgb": image_input(facts), "caption": text_input(self.tokenizer, spec.context)}
        self.terms = (
            Term("contrast", itc, ("image", "text", "scale")),
            Term("attributes", self.attributes.loss, ("logits", "labels"), spec.attribute_weight),
        )

    def encode(self, batch: Batch) -> Encoded:
        """Image class tokens (before and after projection) and caption features."""
        images, captions = batch.inputs["rgb"], batch.inputs["caption"]
        feature = self.trunk.vision.norm(self.trunk.image_tokens(images.values)[:, 0])
        items = {
            "feature": Input(feature, images.rows),
            "image": Input(self.trunk.vision_projection(feature), images.rows),
            "text": Input(self.trunk.text_features(captions.values), captions.rows),
        }
        return Encoded(items, batch.groups)

    def values(self, encoded: Encoded, progress: Progress) -> dict[str, Tensor]:
        """Everything in the order of the groups: each has one image and one caption."""
        values = {name: item.values for name, item in encoded.items.items()}
        values["scale"] = self.log_scale.exp().clamp(max=100.0)
        values["logits"] = self.attributes(values["feature"])
        values["labels"] = self.attributes.true(encoded.groups)
        return values

    def embed(self, batch: Batch) -> Tensor:
        """Images or captions (B, projection), L2-normalised."""
        if "rgb" in batch.inputs:
            return F.normalize(self.trunk.image_features(batch.inputs["rgb"].values), dim=1)
        return F.normalize(self.trunk.text_features(batch.inputs["caption"].values), dim=1)

    def write(self, folder: Path) -> None:
        """A folder for CLIPModel and CLIPTokenizer."""
        write_clip_folder(folder, self.trunk, self.tokenizer_files, logit_scale=float(self.log_scale.detach()))


@final
class PretrainVit(Pretraining):
    """The attributes of the class token."""

    def __init__(self, spec: VitSpec, facts: Facts, seed: int) -> None:
        super().__init__()
        config = VisionConfig(spec.vision.config("gelu", 1e-12), spec.patch, grid_side(facts.image_size, spec.patch))
        with stream(seed, "backbone"):
            self.trunk = VitTrunk(config, facts.image_size)
        with stream(seed, "attributes"):
            self.attributes = Attributes(spec.vision.width, facts.labels)
        self.inputs = {"rgb": image_input(facts)}
        self.terms = (Term("attributes", self.attributes.loss, ("logits", "labels"), spec.attribute_weight),)

    def encode(self, batch: Batch) -> Encoded:
        """The class token of each image."""
        images = batch.inputs["rgb"]
        return Encoded({"feature": Input(self.trunk.image_features(images.values), images.rows)}, batch.groups)

    def values(self, encoded: Encoded, progress: Progress) -> dict[str, Tensor]:
        """Attribute logits and labels."""
        logits = self.attributes(encoded.items["feature"].values)
        return {"logits": logits, "labels": self.attributes.true(encoded.groups)}

    def embed(self, batch: Batch) -> Tensor:
        """Images (B, width), L2-normalised."""
        return F.normalize(self.trunk.image_features(batch.inputs["rgb"].values), dim=1)

    def write(self, folder: Path) -> None:
        """A folder for ViTModel."""
        write_vit_folder(folder, self.trunk)


@final
class PretrainBert(Pretraining):
    """Masked words."""

    def __init__(self, spec: BertSpec, facts: Facts, seed: int) -> None:
        super().__init__()
        self.tokenizer_files = bert_tokenizer_files(spec.words, spec.context)
        self.tokenizer = closed_tokenizer(self.tokenizer_files)
        self.masking = Masking(rate=spec.rate, mask=spec.mask, random=spec.random)
        config = TextConfig(spec.text.config("gelu", 1e-12), self.tokenizer.size, spec.context)
        with stream(seed, "backbone"):
            self.trunk = BertTrunk(config, pad_id=self.tokenizer.pad_id)
        with stream(seed, "head"):
            self.dense, self.norm = nn.Linear(spec.text.width, spec.text.width), nn.LayerNorm(spec.text.width)
        self.bias = nn.Parameter(torch.zeros(self.tokenizer.size))
        self.inputs = {"caption": text_input(self.tokenizer, spec.context)}
        self.terms = (Term("mlm", mlm, ("mlm_logits", "mlm_labels"), local=True),)

    def predict(self, ids: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
        """Masks captions (n, L) and predicts what was masked: logits (m, vocabulary), labels (m,)."""
        masked, labels = mask_tokens(ids, keys, self.masking, self.tokenizer)
        hidden = self.trunk.text_tokens(masked)[labels != IGNORED]
        hidden = self.norm(F.gelu(self.dense(hidden)))
        return F.linear(hidden, self.trunk.tokens.weight, self.bias), labels[labels != IGNORED]

    def encode(self, batch: Batch) -> Encoded:
        """The predictions, which stay local."""
        captions = batch.inputs["caption"]
        logits, labels = self.predict(captions.values, batch.groups["keys"][captions.rows])
        return Encoded({}, batch.groups, {"mlm_logits": logits, "mlm_labels": labels})

    def values(self, encoded: Encoded, progress: Progress) -> dict[str, Tensor]:
        """Nothing looks across captions."""
        return {}

    def embed(self, batch: Batch) -> Tensor:
        """Captions (B, width), the class token, L2-normalised."""
        return F.normalize(self.trunk.text_features(batch.inputs["caption"].values), dim=1)

    def write(self, folder: Path) -> None:
        """A folder for BertModel and BertTokenizer."""
        write_bert_folder(folder, self.trunk, self.tokenizer_files)

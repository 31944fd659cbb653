"""ReID5o: Zuo et al., "ReID5o: Achieving Omni Multi-modal Person Re-identification in a Single Model",
NeurIPS 2025 (arXiv 2506.09385); the authors' code at github.com/Zplusdragon/ReID5o_ORBench, commit 952ab6b.

CLIP with one tokenizer per modality of images in front of shared blocks, the last of which carry a low-rank
adapter per modality, and a transformer that mixes the tokens of any of the query's modalities into one
feature. Photographs are matched with every single modality, pair, triple and the quadruple.

As in the code: the weights that are adapted stay frozen, a bias is learned at twice the rate whatever module
it is of, and the mixture reads a caption's padding. Different from the code: no modality is required, and a
combination is learned from the rows that have all of it; masks come from each sample's own key; one pass of
the trunk serves all modalities; features and losses stay float32 in mixed precision.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Annotated, ClassVar, Literal, final

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, Field, model_validator
from torch import Tensor, nn

from reid_lab.contracts import IMAGE_ROLES, Architecture, Batch, Encoded, Facts, GroupRule, Input, InputSpec, Sum, Term
from reid_lab.errors import DataError, unknown
from reid_lab.parts import backbones
from reid_lab.parts.captions import caption_input
from reid_lab.parts.heads import Classifier, NoClassifier
from reid_lab.parts.locate import known_name
from reid_lab.parts.lora import MLP, TARGETS, LoraSpec, LowRankLinear, adapt
from reid_lab.parts.losses.accuracy import accuracy
from reid_lab.parts.losses.cmpm import cmpm
from reid_lab.parts.losses.itc import itc
from reid_lab.parts.losses.pairs import over_rows
from reid_lab.parts.losses.sdm import sdm
from reid_lab.parts.masking import Masking, mask_tokens
from reid_lab.parts.mixture import MeanDirection, Read, TokenFusion, places
from reid_lab.parts.modalities import ModalText, ModalVision
from reid_lab.parts.pairing import pairs
from reid_lab.parts.towers import CLIP_MEAN, CLIP_STD, end_of_text
from reid_lab.schedules import Progress, Schedule, constant
from reid_lab.seeding import stream
from reid_lab.spec.run import ModelSpec, Positive, Unit
from reid_lab.spec.schedule import ChainSpec, ScheduleSpec, StepSpec, build
from reid_lab.spec.section import Choice, Section, Tune
from reid_lab.spec.weight import Weight, on

RESULT_VERSION = 1

SIZES = ("one", "two", "three", "four")
GALLERY, TEXT = "rgb", "caption"
ALLOWED = (*(role for role in IMAGE_ROLES if role != GALLERY), TEXT)


def _query_roles(roles: tuple[str, ...]) -> tuple[str, ...]:
    for role in roles:
        if role not in ALLOWED:
            raise ValueError(unknown("query modality", role, ALLOWED))
    if not roles or len(set(roles)) < len(roles) or len(roles) > len(SIZES):
        raise ValueError(f"one to four different modalities are needed; got {', '.join(roles) or 'none'}")
    return roles


class AdapterSpec(LoraSpec):
    """The adapters of the last blocks, one per modality of images; published alpha 1 is `scaling` 1/4."""

    layers: Annotated[int, Field(ge=1), Choice(1, 2)] = 2  # the last n; all: their number
    targets: Annotated[tuple[str, ...], Choice(MLP, TARGETS)] = MLP
    # as_published: a weight that is adapted keeps its pretrained value; trained: it learns like the rest
    adapted: Annotated[Literal["as_published", "trained"], Choice("as_published", "trained")] = "as_published"


class FusionSpec(Section):
    """The mixture of tokens; `padding` says whether it reads what stands behind a caption's end."""

    depth: Annotated[int, Field(ge=0), Tune(0, 6)] = 4
    padding: Annotated[Literal["as_published", "ignored"], Choice("as_published", "ignored")] = "as_published"


class MaskingSpec(Section):
    """Captions of training, spoilt: `rate` of the tokens, of these `mask`, `random` and `keep`."""

    rate: Annotated[float, Field(gt=0, le=1), Tune(0.05, 0.4)] = 0.15
    mask: Unit = 0.8
    random: Unit = 0.1
    keep: Unit = 0.1

    @model_validator(mode="after")
    def _whole(self) -> MaskingSpec:
        total = self.mask + self.random + self.keep
        if not math.isclose(total, 1.0, abs_tol=1e-9):
            raise ValueError(f"mask + random + keep must be 1; got {total:g}")
        return self


class Spec(ModelSpec):
    """The knobs of ReID5o; the defaults are the published ones."""

    TERMS: ClassVar[tuple[str, ...]] = (*SIZES, "id")

    name: Literal["reid5o"] = "reid5o"
    backbone: Annotated[str, AfterValidator(known_name)] = "tiny-clip"  # a preset, a Hugging Face id, or a folder
    pretrained: bool = True
    image_size: tuple[Positive, Positive] | None = None  # height, width; null: as the data delivers them
    stride: Positive | None = None  # of the patches; null: their size
    text_length: Annotated[int, Field(ge=3)] | None = None  # tokens of a caption; null: the trunk's context
    queries: Annotated[tuple[str, ...], AfterValidator(_query_roles)] = ("nir", "cpencil", "sketch", "caption")
    lora: AdapterSpec | None = AdapterSpec()
    fusion: FusionSpec | None = FusionSpec()
    masking: MaskingSpec | None = MaskingSpec()
    temperature: Annotated[Annotated[float, Field(gt=0)] | ScheduleSpec, Tune(0.01, 0.2, log=True)] = 0.02
    match: Annotated[Literal["sdm", "itc", "cmpm"], Choice("sdm", "itc", "cmpm")] = "sdm"
    one: Annotated[Weight, Tune(0.1, 2.0, log=True)] = 1.0  # matching with queries of one modality, of two, …
    two: Annotated[Weight, Tune(0.1, 2.0, log=True)] = 1.0
    three: Annotated[Weight, Tune(0.1, 2.0, log=True)] = 1.0
    four: Annotated[Weight, Tune(0.1, 2.0, log=True)] = 1.0
    id: Annotated[Weight, Tune(0.1, 2.0, log=True)] = 1.0
    new_lr_factor: Annotated[float, Field(gt=0), Tune(1.0, 20.0, log=True)] = 5.0
    bias_lr_factor: Annotated[float, Field(gt=0)] = 2.0
    bias_weight_decay_factor: Annotated[float, Field(ge=0)] = 0.0


@final
class Reid5o(Architecture):
    """The model: one trunk of images with a tokenizer per modality, CLIP's text tower, and the mixture."""

    def __init__(self, spec: Spec, facts: Facts, seed: int) -> None:
        super().__init__()
        size = spec.image_size or facts.image_size
        clip = backbones.clip(spec.backbone, image_size=size, stride=spec.stride, pretrained=spec.pretrained, seed=seed)
        context = clip.config.text.context
        caption = caption_input(clip.tokenizer, spec.text_length or context, context, spec.backbone)
        images = (GALLERY, *(role for role in spec.queries if role != TEXT))
        self.vision = ModalVision(clip, dict.fromkeys(images, clip.config.vision.channels), own="tokenizer", seed=seed)
        if spec.lora is not None:
            adapt(self.vision.blocks, images, spec.lora.lora(), seed=seed, part="lora")
            _freeze(self.vision.blocks, spec.lora)
        self.text = ModalText(clip) if TEXT in spec.queries else None
        self.width = clip.width
        self.kinds, self.matched = _kinds(spec)
        self.fusion: TokenFusion | MeanDirection = MeanDirection()
        self.mixed: tuple[str, ...] = ()  # roles whose tokens are mixed, in the order of `queries`
        self.reads_padding = spec.fusion is not None and spec.fusion.padding == "as_published"
        if spec.fusion is not None and self.kinds:
            self.mixed = (GALLERY, *spec.queries)
            with stream(seed, "fusion"):
                self.fusion = TokenFusion(self.width, spec.fusion.depth)
        self.identity: Classifier | NoClassifier = NoClassifier()
        if on(spec.id):
            with stream(seed, "identity"):
                self.identity = Classifier(self.width, facts.identities)

        self.inputs: dict[str, InputSpec] = {
            role: InputSpec(size=size, mean=CLIP_MEAN, std=CLIP_STD) for role in images
        }
        self.tokenizer = clip.tokenizer
        if self.text is not None:
            self.inputs[TEXT] = caption
        spoilt = spec.masking
        self.masking = None if spoilt is None else Masking(spoilt.rate, spoilt.mask, spoilt.random)
        self.temperature = _schedule(build(spec.temperature))
        self.terms = tuple(_terms(spec, self.matched))
        self.diagnostics = tuple(_diagnostics(self.terms, spec.temperature))
        self.factors = (spec.new_lr_factor, spec.bias_lr_factor, spec.bias_weight_decay_factor)

    def encode(self, batch: Batch) -> Encoded:
        """Items: the features (n, D) of every modality, under its role, and of every combination, as `nir+sketch`."""
        caption = batch.inputs.get(TEXT)
        if self.masking is not None and caption is not None:
            keys = batch.groups["keys"][caption.rows]
            ids, _ = mask_tokens(caption.values, keys, self.masking, self.tokenizer)
            batch = batch.with_inputs(caption=Input(ids, caption.rows))
        reads = self._read(batch, self.mixed[1:])
        items = {role: Input(read.feature, batch.inputs[role].rows) for role, read in reads.items()}
        return Encoded({**items, **self.fusion.combine(reads, self.kinds)}, batch.groups)

    def values(self, encoded: Encoded, progress: Progress) -> dict[str, Tensor]:
        """The scale 1/temperature and, by size of the query and for `id`, what their terms read.

        SIZE_image, SIZE_query (m, D): the m pairs of a photograph and a query of this size, kind after kind;
        SIZE_pids (m,); SIZE_counts (kinds,): how many rows each kind has. id_logits (m, C), id_pids, id_counts:
        all features. A size without a row is left out.
        """
        items, pids = encoded.items, encoded.groups["pids"]
        found = {"scale": torch.tensor(1.0 / self.temperature(progress), device=pids.device)}
        photographs = items.get(GALLERY)
        if photographs is not None:
            for size, names in self.matched.items():
                there = [items[name] for name in names if name in items]
                both = [(item, *pairs(photographs.rows, item.rows, len(pids))) for item in there]
                both = [(item, image, query) for item, image, query in both if len(image)]
                if both:
                    found[f"{size}_image"] = torch.cat([photographs.values[image] for _, image, _ in both])
                    found[f"{size}_query"] = torch.cat([item.values[query] for item, _, query in both])
                    found[f"{size}_pids"] = torch.cat([pids[item.rows[query]] for item, _, query in both])
                    found[f"{size}_counts"] = torch.tensor([len(image) for _, image, _ in both])
        if items:
            found |= self.identity(id=torch.cat([item.values for item in items.values()]))
            found["id_pids"] = torch.cat([pids[item.rows] for item in items.values()])
            found["id_counts"] = torch.tensor([len(item.rows) for item in items.values()])
        return found

    def embed(self, batch: Batch) -> Tensor:
        """(B, D): each group's one modality, or the mixture of all that it has.

        Raises DataError for a group that has none.
        """
        order = list(self.inputs)
        has = torch.zeros(batch.size, len(order), dtype=torch.bool)
        for role in set(order) & batch.inputs.keys():
            has[batch.inputs[role].rows.cpu(), order.index(role)] = True
        sets = {tuple(role for role, there in zip(order, row, strict=True) if there) for row in has.tolist()}
        if () in sets:
            lost = int((~has.any(dim=1)).sum())
            raise DataError(f"{lost} of {batch.size} groups have none of the modalities {', '.join(order)}")
        several = sorted((found for found in sets if len(found) > 1), key=lambda found: (len(found), found))
        kinds = {"+".join(found): found for found in several}
        reads = self._read(batch, [role for role in self.mixed if any(role in found for found in kinds.values())])
        total = torch.zeros(batch.size, self.width, device=batch.device)
        for role, read in reads.items():
            total = total.index_add(0, batch.inputs[role].rows, F.normalize(read.feature, dim=1))
        for fused in self.fusion.combine(reads, kinds).values():  # a larger kind, later, is the whole of a group
            total = total.index_copy(0, fused.rows, fused.values.float())
        return F.normalize(total, dim=1)

    def group_rule(self, parameter: str) -> GroupRule:
        """As `build_optimizer` of the code: new modules faster; every bias twice as fast and not decayed."""
        new_lr, bias_lr, bias_decay = self.factors
        if parameter.endswith("bias"):
            return GroupRule("bias", bias_lr, bias_decay)
        if ".lora_" in parameter:
            return GroupRule("lora", new_lr)
        if parameter.startswith("fusion.") and not parameter.startswith(("fusion.norm_in.", "fusion.norm_out.")):
            return GroupRule("fusion", new_lr)
        return GroupRule("identity", new_lr) if parameter.startswith("identity.") else GroupRule("trunk")

    def _read(self, batch: Batch, whole: Collection[str]) -> dict[str, Read]:
        """What the trunks make of a batch, by role; all tokens of the roles `whole`, else that of the feature."""
        inputs = {role: batch.inputs[role] for role in self.inputs if role in batch.inputs}
        if not inputs:
            raise DataError(f"the batch has none of the modalities {', '.join(self.inputs)}")
        reads = {}
        for role, tokens in self.vision({r: inputs[r].values for r in self.vision.roles if r in inputs}).items():
            tokens = self.vision.project(tokens if role in whole else tokens[:, :1])
            reads[role] = Read(tokens[:, 0].float(), tokens, places(inputs[role].rows, batch.size))
        if self.text is not None and TEXT in inputs:
            ids, place = inputs[TEXT].values, places(inputs[TEXT].rows, batch.size)
            if TEXT not in whole:
                feature = self.text.features(ids).float()
                reads[TEXT] = Read(feature, feature[:, None], place)
            else:
                mask = None
                if not self.reads_padding:
                    ids = ids[:, : int(ids.argmax(dim=1).max()) + 1] if len(ids) else ids
                    mask = torch.arange(ids.shape[1], device=ids.device) <= ids.argmax(dim=1, keepdim=True)
                tokens = self.text.project(self.text(ids))
                reads[TEXT] = Read(end_of_text(tokens, ids).float(), tokens, place, mask)
        return reads


def _schedule(value: float | Schedule) -> Schedule:
    return value if callable(value) else constant(value)


def _freeze(blocks: nn.Module, spec: AdapterSpec) -> None:
    """Keeps the weights that are adapted, as published; biases learn in any case."""
    for module in blocks.modules():
        if isinstance(module, LowRankLinear) and spec.adapted == "as_published":
            module.weight.requires_grad_(False)


def _kinds(spec: Spec) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[str, ...]]]:
    """The combinations that training mixes, name -> roles; and those that are matched, size -> names."""
    mixed: dict[str, tuple[str, ...]] = {}
    matched: dict[str, tuple[str, ...]] = {}
    for number, size in enumerate(SIZES, 1):
        found = {"+".join(roles): roles for roles in combinations(spec.queries, number)}
        if found and (number == 1 or spec.fusion is not None):
            if on(getattr(spec, size)):
                matched[size] = tuple(found)
            if number > 1 and (on(getattr(spec, size)) or on(spec.id)):
                mixed |= found
    return mixed, matched


def _by_kind(size: str, values: Mapping[str, Tensor], names: Sequence[str], fn: Callable[..., Sum]) -> Sum:
    """`fn` of each kind of one size by itself: the sum of the kinds' means, and how many kinds there are."""
    counts = values[f"{size}_counts"].tolist()
    columns = [torch.split(values[f"{size}_{name}"], counts) for name in names]
    sums = [fn(*parts) for parts in zip(*columns, strict=True)]
    return Sum(torch.stack([one.total / one.count for one in sums]).sum(), torch.tensor(len(sums)))


def _matching(size: str, match: str) -> Callable[..., Sum]:
    """The matching loss of the queries of one size: a mean over kinds, each of its own rows."""

    def loss(**values: Tensor) -> Sum:
        scale = values["scale"]
        forms: dict[str, Callable[[Tensor, Tensor, Tensor], Sum]] = {
            "sdm": lambda image, query, pids: sdm(image, query, pids, scale),
            "itc": lambda image, query, _: itc(image, query, scale),
            "cmpm": cmpm,
        }
        return _by_kind(size, values, ("image", "query", "pids"), forms[match])

    return loss


def _identity(**values: Tensor) -> Sum:
    """Cross-entropy of identities: a mean over kinds of features (16 with four modalities), each of its own rows."""

    def entropy(logits: Tensor, pids: Tensor) -> Sum:
        return over_rows(F.cross_entropy(logits.float(), pids, reduction="sum"), len(pids))

    return _by_kind("id", values, ("logits", "pids"), entropy)


def _terms(spec: Spec, matched: Mapping[str, tuple[str, ...]]) -> Iterator[Term]:
    """The losses that are on."""
    for size in matched:
        needs = (*(f"{size}_{name}" for name in ("image", "query", "pids", "counts")), "scale")
        yield Term(size, _matching(size, spec.match), needs, build(getattr(spec, size)))
    if spec.id is not None and on(spec.id):
        yield Term("id", _identity, ("id_logits", "id_pids", "id_counts"), build(spec.id))


def _diagnostics(terms: tuple[Term, ...], temperature: float | ChainSpec | StepSpec) -> Iterator[Term]:
    """Accuracy of the classifier over all features; a temperature that changes."""
    if any(term.name == "id" for term in terms):
        yield Term("id_accuracy", accuracy("id_logits", "id_pids"), ("id_logits", "id_pids"))
    if isinstance(temperature, Section):
        yield Term("temperature", lambda scale: 1.0 / scale, ("scale",))

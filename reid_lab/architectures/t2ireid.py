"""T2IReID: text-to-image person retrieval that takes identity and clothes apart.

No paper and no code are published: the source is a design note, an unresolved merge whose first half has no gradient
reversal and whose second half has one. A ViT sees the image and BERT reads two captions, one of the body (identity)
and one of the clothes. Two projections of the image's class token give identity and clothes features; MLPs take both,
and the captions', to one space of 256 channels, where the losses meet.

As published are the sizes, the temperature and two weights (cloth_match .5, decouple .3); the other weights are not.
`bio`, `cloth` and `cloth_adv` are named there and not defined; docs/architectures/t2ireid.md tells why they are what
they are here. What works against its own purpose there can be chosen as `as_published`, and is not the default.
"""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import partial
from typing import Annotated, Any, ClassVar, Literal, final

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, Field, model_validator
from torch import Tensor, nn

from reid_lab.contracts import Architecture, Batch, Encoded, Facts, GroupRule, Input, InputSpec, Sum, Term
from reid_lab.errors import DataError
from reid_lab.parts import backbones, clothes, composed
from reid_lab.parts import disentangle as parts
from reid_lab.parts import fusion as fusions
from reid_lab.parts.captions import caption_input
from reid_lab.parts.grl import AlphaSpec, Detached, NoReversal, Reversal
from reid_lab.parts.heads import Classifier, NoClassifier
from reid_lab.parts.locate import known_name
from reid_lab.parts.losses import cloth_match, decouple
from reid_lab.parts.losses.accuracy import accuracy
from reid_lab.parts.losses.classify import classify
from reid_lab.parts.losses.info_nce import info_nce
from reid_lab.parts.losses.named import named, reaching
from reid_lab.parts.losses.supcon import supcon
from reid_lab.parts.pairing import pairs
from reid_lab.parts.towers import CLIP_MEAN, CLIP_STD
from reid_lab.schedules import Progress, Schedule, constant
from reid_lab.seeding import stream
from reid_lab.spec.run import ModelSpec, Positive
from reid_lab.spec.schedule import ScheduleSpec, build
from reid_lab.spec.section import Misfit, Section, Tune
from reid_lab.spec.weight import Weight, active, on

RESULT_VERSION = 1

Loss = Annotated[Weight, Tune(0.1, 2.0, log=True)]


class GrlSpec(AlphaSpec):
    """Gradient reversal. As published it stands between the clothes projection and its ReLU, so that everything
    behind it, the matching too, is turned round for the trunk; `adversary` has it before the adversary alone."""

    site: Literal["as_published", "adversary"] = "adversary"


class FusionSpec(fusions.FusionSpec):
    """One feature of image and identity caption, times a learnable scale, for the loss `read_by` names.

    `cls`: a classifier of its own; `info_nce`: in the image's place, though the text is part of it. Null: by none.
    """

    read_by: Literal["cls", "info_nce"] | None = "cls"


class ClothSpec(Section):
    """What a clothes feature is taught. `auto`: the outfits' numbers, else the words of their captions."""

    weight: Loss = 1.0
    labels: Literal["auto", "ids", "words", "overlap"] = "auto"


class AdversarySpec(Section):
    """`own_head`: tells identities from the clothes feature. As published: `cloth` with the opposite sign."""

    weight: Loss = 1.0
    form: Literal["own_head", "as_published"] = "own_head"


class MatchSpec(Section):
    """Matching of clothes features and clothes captions; the forms are those of `parts.losses.cloth_match`."""

    weight: Annotated[Weight, Tune(0.05, 2.0, log=True)] = 0.5
    form: Literal["pid_aware", "masked_rows", "as_published"] = "pid_aware"


class DecoupleSpec(Section):
    """What identity and clothes features have in common; as published behind projectors, `trained` or `frozen`."""

    weight: Annotated[Weight, Tune(0.01, 1.0, log=True)] = 0.3
    form: Literal["cosine", "cross_covariance", "hsic", "as_published"] = "cosine"
    projectors: Literal["trained", "frozen"] = "trained"

    @model_validator(mode="after")
    def _used(self) -> DecoupleSpec:
        if self.projectors == "frozen" and self.form != "as_published":
            raise Misfit("projectors", f"the form '{self.form}' has no projectors (as_published has)", because="form")
        return self


class Spec(ModelSpec):
    """The knobs of T2IReID; sizes as published, forms as corrected."""

    TERMS: ClassVar[tuple[str, ...]] = ("info_nce", "cls", "bio", "cloth", "cloth_adv", "cloth_match", "decouple")

    name: Literal["t2ireid"] = "t2ireid"
    backbone: Annotated[str, AfterValidator(known_name)] = "tiny-vit"  # a preset, a Hugging Face id, or a folder
    text_backbone: Annotated[str, AfterValidator(known_name)] = "tiny-bert"
    pretrained: bool = True
    image_size: tuple[Positive, Positive] | None = None  # height, width; null: as the data delivers them
    pixels: Literal["clip", "vit"] = "clip"  # mean and deviation: CLIP's, as the tiny trunks; .5, as google/vit-*
    text_length: Annotated[int, Field(ge=3)] | None = None  # tokens of a caption; null: 100, or the trunk's context
    hidden: Positive = 512
    output: Positive = 256
    dropout: Annotated[float, Field(ge=0, lt=1), Tune(0.0, 0.5)] = 0.2
    norm: parts.Norm = "batch_per_branch"
    temperature: Annotated[Annotated[float, Field(gt=0)] | ScheduleSpec, Tune(0.01, 0.2, log=True)] = 0.1
    grl: GrlSpec | None = GrlSpec()
    fusion: FusionSpec | None = FusionSpec()
    info_nce: Loss = 1.0
    cls: Loss = 1.0
    bio: Loss = 1.0
    cloth: ClothSpec | None = ClothSpec()
    cloth_adv: AdversarySpec | None = AdversarySpec()
    cloth_match: MatchSpec | None = MatchSpec()
    decouple: DecoupleSpec | None = DecoupleSpec()
    # what stands for a group with image and caption: the image alone, the fused feature, or their mean direction
    retrieval: composed.Kind = "single_modality"
    # the weight of clothes beside identity in an embedding; null: identity alone, as published
    retrieval_clothes: Annotated[float, Field(gt=0), Tune(0.1, 2.0, log=True)] | None = None
    new_lr_factor: Annotated[float, Field(gt=0), Tune(1.0, 20.0, log=True)] = 1.0

    @model_validator(mode="after")
    def _together(self) -> Spec:
        adversary, matching = active(self.cloth_adv), active(self.cloth_match)
        if adversary and adversary.form == "as_published" and not active(self.cloth):
            raise Misfit("cloth_adv.form", "'as_published' is cloth with the opposite sign, and cloth is off", "cloth")
        if self.retrieval_clothes is not None and not matching:
            what = "clothes are compared with clothes captions only where cloth_match teaches it, which is off"
            raise Misfit("retrieval_clothes", what, "cloth_match")
        if self.retrieval == "as_published" and self.fusion is None:
            raise Misfit("retrieval", "'as_published' retrieves with the fused feature, and fusion is null", "fusion")
        if self.fusion is not None and self.fusion.kind in fusions.ATTENTIVE and self.output % self.fusion.heads:
            raise Misfit("fusion.heads", f"output ({self.output}) is no multiple of {self.fusion.heads} heads")
        return self


@final
class T2IReID(Architecture):
    """The model: two trunks, what takes identity and clothes apart, and the parts that the losses need."""

    embeddings = {
        "trunk": ("trunk", ("rgb",)),
        "identity_projection": ("id_embeds", ("rgb",)),
        "clothes_projection": ("cloth_embeds", ("rgb",)),
        "identity": ("image", ("rgb",)),
        "clothes": ("cloth_image", ("rgb",)),
        "fused": ("fused", ("rgb", "id_caption")),
    }

    def __init__(self, spec: Spec, facts: Facts, seed: int) -> None:
        super().__init__()
        size = spec.image_size or facts.image_size
        self.vision = backbones.vit(spec.backbone, image_size=size, pretrained=spec.pretrained, seed=seed)
        self.text = backbones.bert(spec.text_backbone, pretrained=spec.pretrained, seed=seed)
        uses = _Uses(spec, facts)
        wide, width = self.vision.width, self.text.width
        with stream(seed, "id_projection"):
            self.id_projection = nn.Linear(wide, width)
        with stream(seed, "shared_mlp"):
            self.shared_mlp = nn.Linear(width, spec.hidden)
        self.image_mlp, self.text_mlp = (
            parts.Projector(spec.hidden, spec.output, spec.dropout, spec.norm, uses.branches, seed, name)
            for name in ("image_mlp", "text_mlp")
        )
        self.identity: Classifier | NoClassifier = NoClassifier()
        if on(spec.cls):
            with stream(seed, "identity"):
                self.identity = Classifier(width, facts.identities)
        self.fused = _fused(spec, uses, (wide, width), facts, seed)
        self.clothes = _clothes(spec, uses, (wide, width), seed)
        self.adversary = _adversary(spec, uses, width, facts, seed)
        self.cloth_labels = clothes.labeller(uses.labels, facts, width, self.text, seed)
        self.projectors: parts.Projectors | parts.NoProjectors = parts.NoProjectors()
        if uses.decouple is not None and uses.decouple.form == "as_published":
            trained = uses.decouple.projectors == "trained"
            self.projectors = parts.Projectors(width, spec.output, trained=trained, seed=seed)

        self.branch = uses.branches[-1]
        self.inputs = _inputs(spec, uses, size, self.text)
        temperature = build(spec.temperature)
        self.temperature: Schedule = temperature if callable(temperature) else constant(temperature)
        self.alpha: Schedule = spec.grl.build() if spec.grl else constant(0.0)
        self.retrieval = composed.KINDS[spec.retrieval]()
        self.retrieval_clothes = spec.retrieval_clothes
        self.new_lr_factor = spec.new_lr_factor
        self.terms = tuple(_terms(spec, uses))
        self.diagnostics = tuple(_diagnostics(self.terms, spec, uses))
        names = [name for name, _ in self.named_parameters()]
        silent = _dead(spec, uses, self.fused.fusion)
        self.dead = tuple(pattern for pattern in silent if any(fnmatchcase(name, pattern) for name in names))

    def encode(self, batch: Batch) -> Encoded:
        """Items `image` (n, T, W), `id_text`, `cloth_text` (n, L, W'): tokens, of which the class token may be all.

        And `id_words`, `cloth_words` (n, L), the token ids. Raises `DataError` when there is no input at all.
        """
        self._refuse_empty(batch)
        items: dict[str, Input] = {}
        if (rgb := batch.inputs.get("rgb")) is not None:
            tokens = self.vision.image_tokens(rgb.values).float()
            items["image"] = Input(tokens if self.fused.fusion.reads_tokens else tokens[:, :1], rgb.rows)
        for role in ("id_caption", "cloth_caption"):
            if role in self.inputs and (told := batch.inputs.get(role)) is not None:
                name = role.removesuffix("_caption")
                whole = self.fused.fusion.reads_tokens and role == "id_caption"
                items[f"{name}_text"] = Input(self._words(told.values, whole=whole), told.rows)
                items[f"{name}_words"] = told
        return Encoded(items, batch.groups)

    def values(self, encoded: Encoded, progress: Progress) -> dict[str, Tensor]:
        """What the losses read, as far as the batch has it: of images, of texts, and of the pairs of both."""
        scale = 1.0 / self.temperature(progress)
        pids = encoded.groups["pids"]
        found = {"scale": torch.tensor(scale, device=pids.device)}
        image = encoded.items.get("image")
        if image is not None:
            found |= self._of_images(image, encoded, self.alpha(progress))
        if (id_text := encoded.items.get("id_text")) is not None:
            found |= {"id_text": self._text_feature(id_text, "id"), "id_text_pids": pids[id_text.rows]}
        if (cloth_text := encoded.items.get("cloth_text")) is not None:
            found["cloth_text"] = self._text_feature(cloth_text, self.branch)
        if image is None:
            return found
        if id_text is not None:
            found |= self._identity_pairs(found, image, id_text, encoded)
        if cloth_text is not None and "cloth_image" in found:
            i, t = pairs(image.rows, cloth_text.rows, len(pids))
            rows = image.rows[i]
            found |= {
                "cloth_image_pairs": found["cloth_image"][i],
                "cloth_text_pairs": found["cloth_text"][t],
                "cloth_pids": pids[rows],
                "cloth_text_pids": encoded.groups.get("cloth_pids", pids)[rows],
                "matched": self._matched(encoded)[rows],
            }
        logits = [found[name] for name in ("id_logits", "fused_logits") if name in found]
        if logits:
            known = (found["image_pids"], found.get("pair_pids"))
            labels = [label for label, _ in zip(known, logits, strict=False) if label is not None]
            found |= {"logits": torch.cat(logits), "labels": torch.cat(labels)}
        return found

    def embed(self, batch: Batch) -> Tensor:
        """(B, D): identity features, and behind them clothes features where `retrieval_clothes` weighs them.

        A group of texts alone is what its identity caption says (its clothes caption, where that is all there is).
        A group with an image as well is what `retrieval` says.
        """
        encoded = self.encode(batch)
        found = self.values(encoded, Progress(0, 1, 1))
        empty = torch.zeros(batch.size, self.image_mlp.fc2.out_features, device=batch.device)
        identity = composed.placed(empty, found.get("id_text"), encoded.items.get("id_text"))
        image = composed.placed(empty, found.get("image"), encoded.items.get("image"))
        wearing = composed.placed(empty, found.get("cloth_text"), encoded.items.get("cloth_text"))
        worn = composed.placed(empty, found.get("cloth_image"), encoded.items.get("image"))
        seen = image.any(dim=1, keepdim=True)
        identity = self.retrieval(image, identity, found)
        wearing = torch.where(seen, self.retrieval(worn, wearing, {}), wearing)
        if self.retrieval_clothes is None:
            told = identity.any(dim=1, keepdim=True)
            return F.normalize(torch.where(told, identity, wearing), dim=1)
        return F.normalize(torch.cat([identity, self.retrieval_clothes**0.5 * wearing], dim=1), dim=1)

    def group_rule(self, parameter: str) -> GroupRule:
        """The trunks, and all that is new."""
        trunk = parameter.startswith(("vision.", "text."))
        return GroupRule("trunk") if trunk else GroupRule("new", self.new_lr_factor)

    def _refuse_empty(self, batch: Batch) -> None:
        if not any(role in self.inputs for role in batch.inputs):
            there = ", ".join(batch.inputs) or "nothing"
            raise DataError(f"a batch without any input: t2ireid reads {', '.join(self.inputs)}, the batch has {there}")

    def _words(self, ids: Tensor, *, whole: bool) -> Tensor:
        """Tokens (n, L, W) of captions (n, L); the class token alone, (n, 1, W), unless `whole`."""
        if whole:
            return self.text.text_tokens(ids).float()
        longest = int((ids != self.text.pad_id).sum(dim=1).max()) if len(ids) else 1
        return self.text.text_tokens(ids[:, :longest])[:, :1].float()

    def _text_feature(self, text: Input, branch: str) -> Tensor:
        return self.text_mlp(self.shared_mlp(text.values[:, 0]), branch)  # type: ignore[no-any-return]

    def _of_images(self, image: Input, encoded: Encoded, alpha: float) -> dict[str, Tensor]:
        """What an image tells by itself, and what its clothes are labelled with."""
        x, rows = image.values[:, 0], image.rows
        id_embeds = self.id_projection(x).relu()
        found = {
            "trunk": image.values,
            "alpha": torch.tensor(alpha, device=x.device),
            "image_pids": encoded.groups["pids"][rows],
            "id_embeds": id_embeds,
            "image": self.image_mlp(self.shared_mlp(id_embeds), "id"),
            **self.identity(id=id_embeds),
            **self.clothes(x, alpha),
        }
        if "cloth_embeds" not in found:
            return found
        worn = found["cloth_embeds"]
        if self.branch == "cloth":
            found["cloth_image"] = self.image_mlp(self.shared_mlp(worn), "cloth")
        told, ids = self._told(image, encoded)
        outfits = encoded.groups.get("clothes", torch.full_like(encoded.groups["pids"], -1))[rows]
        for made in (self.adversary(worn, alpha), self.projectors(id_embeds, worn)):
            found |= made
        found |= self.cloth_labels(worn, outfits, told, ids)
        return found

    def _identity_pairs(
        self, found: dict[str, Tensor], image: Input, text: Input, encoded: Encoded
    ) -> dict[str, Tensor]:
        """Images and identity captions of the groups that have both, and what is fused of them."""
        i, t = pairs(image.rows, text.rows, len(encoded.groups["pids"]))
        rows = image.rows[i]
        mask = encoded.items["id_words"].values[t] != self.text.pad_id
        seen, told = found["image"][i], found["id_text"][t]
        looked, read = fusions.Tokens(image.values[i]), fusions.Tokens(text.values[t], mask)
        fused = self.fused(seen, told, looked, read)
        pids = encoded.groups["pids"][rows]
        return {"image_pairs": seen, "id_text_pairs": told, "pair_rows": rows, "pair_pids": pids, **fused}

    def _matched(self, encoded: Encoded) -> Tensor:
        """Whether a group's clothes caption tells of its own image: (B,) bool; all do where nothing else is said."""
        pids = encoded.groups["pids"]
        return encoded.groups.get("is_matched", torch.ones_like(pids)) == 1

    def _told(self, image: Input, encoded: Encoded) -> tuple[Tensor, Tensor]:
        """The images (m,) whose own clothes caption is there, and its ids (m, L)."""
        words = encoded.items.get("cloth_words")
        if words is None:
            return clothes.no_rows(image.rows), clothes.no_rows(image.rows, 1)
        i, t = pairs(image.rows, words.rows, len(encoded.groups["pids"]))
        own = self._matched(encoded)[image.rows[i]]
        return i[own], words.values[t[own]]


@final
class _Uses:
    """What a spec turns on, with the weights of 0 taken for null."""

    def __init__(self, spec: Spec, facts: Facts) -> None:
        self.cloth, self.adversary = active(spec.cloth), active(spec.cloth_adv)
        self.match, self.decouple = active(spec.cloth_match), active(spec.decouple)
        self.clothes = any(slot is not None for slot in (self.cloth, self.adversary, self.match, self.decouple))
        self.labels = None if self.cloth is None else clothes.labels_of(self.cloth.labels, facts, "model.cloth")
        self.branches = ("id", "cloth") if self.match is not None else ("id",)
        self.reader = spec.fusion.read_by if spec.fusion is not None else None
        if self.reader is not None and not on(getattr(spec, self.reader)):
            self.reader = None
        self.upstream = spec.grl is not None and spec.grl.site == "as_published"
        self.has_head = self.adversary is not None and self.adversary.form == "own_head"
        self.captions = self.match is not None or self.labels in ("words", "overlap")


def _inputs(spec: Spec, uses: _Uses, size: tuple[int, int], text: Any) -> dict[str, InputSpec]:
    context = text.config.context
    caption = caption_input(text.tokenizer, spec.text_length or min(100, context), context, spec.text_backbone)
    mean, std = (CLIP_MEAN, CLIP_STD) if spec.pixels == "clip" else ((0.5,) * 3, (0.5,) * 3)
    found = {"rgb": InputSpec(size=size, mean=mean, std=std), "id_caption": caption}
    return found | ({"cloth_caption": caption} if uses.captions else {})


def _fused(
    spec: Spec, uses: _Uses, memory: tuple[int, int], facts: Facts, seed: int
) -> fusions.FusedFeature | fusions.NotFused:
    if spec.fusion is None:
        return fusions.NotFused()
    made = spec.fusion.build(spec.output, memory, seed)
    return fusions.FusedFeature(made, facts.identities if uses.reader == "cls" else None, seed)


def _clothes(spec: Spec, uses: _Uses, widths: tuple[int, int], seed: int) -> parts.ClothesFeature | parts.NoClothes:
    if not uses.clothes:
        return parts.NoClothes()
    return parts.ClothesFeature(*widths, Reversal() if uses.upstream else NoReversal(), seed)


def _adversary(spec: Spec, uses: _Uses, width: int, facts: Facts, seed: int) -> parts.Adversary | parts.NoAdversary:
    if not uses.has_head:
        return parts.NoAdversary()
    before: parts.Before = Detached() if spec.grl is None else NoReversal() if uses.upstream else Reversal()
    return parts.Adversary(width, facts.identities, before, seed)


def _terms(spec: Spec, uses: _Uses) -> list[Term]:
    """The losses that are on."""
    contrasted = "fused" if uses.reader == "info_nce" else "image_pairs"
    known: list[tuple[str, Weight, Callable[..., Sum], tuple[str, ...], float]] = [
        ("info_nce", spec.info_nce, info_nce, (contrasted, "id_text_pairs", "scale"), 1.0),
        ("cls", spec.cls, classify, ("logits", "labels"), 1.0),
        ("bio", spec.bio, supcon, ("image", "id_text", "image_pids", "id_text_pids", "scale"), 1.0),
    ]
    if uses.cloth is not None and uses.labels is not None:
        taught = clothes.LOSSES[uses.labels]
        known.append(("cloth", uses.cloth.weight, *taught, 1.0))
        if uses.adversary is not None and not uses.has_head:
            known.append(("cloth_adv", uses.adversary.weight, *taught, -1.0))
    if uses.adversary is not None and uses.has_head:
        known.append(("cloth_adv", uses.adversary.weight, classify, ("adversary_logits", "image_pids"), 1.0))
    if uses.match is not None:
        needs = ("cloth_image_pairs", "cloth_text_pairs", "matched", "cloth_pids", "cloth_text_pids", "scale")
        known.append(("cloth_match", uses.match.weight, cloth_match.FORMS[uses.match.form], needs, 1.0))
    if uses.decouple is not None:
        projected = uses.decouple.form == "as_published"
        compared = ("id_projected", "cloth_projected") if projected else ("id_embeds", "cloth_embeds")
        known.append(("decouple", uses.decouple.weight, decouple.FORMS[uses.decouple.form], compared, 1.0))
    return [
        Term(name, named(fn, needs, sign), needs, build(weight))
        for name, weight, fn, needs, sign in known
        if weight is not None and weight != 0
    ]


def _diagnostics(terms: tuple[Term, ...], spec: Spec, uses: _Uses) -> list[Term]:
    """How far identity and clothes are apart, what the parts do, and what each loss asks of the image trunk."""
    found: list[Term] = []
    if on(spec.cls):
        found.append(Term("image_accuracy", accuracy("id_logits", "image_pids"), ("id_logits", "image_pids")))
    if uses.clothes:
        both = ("id_embeds", "cloth_embeds")
        found += [Term(n, named(f, both), both) for n, f in (("cos_raw", decouple.cosine), ("hsic", decouple.hsic))]
    if uses.decouple is not None and uses.decouple.form == "as_published":
        both = ("id_projected", "cloth_projected")
        found.append(Term("cos_projected", named(decouple.cosine, both), both))
    if uses.match is not None:
        needs = ("cloth_image_pairs", "cloth_text_pairs", "matched")
        for name, wanted in (("cos_matched", True), ("cos_unmatched", False)):
            found.append(Term(name, named(partial(cloth_match.mean_cosine, wanted=wanted), needs), needs))
    if spec.fusion is not None and spec.fusion.kind in fusions.GATED:
        found.append(Term("image_weight", lambda image_weight: image_weight.mean(), ("image_weight",)))
    if uses.has_head:
        asked = ("adversary_logits", "image_pids")
        found.append(Term("adversary_accuracy", accuracy(*asked), asked))
    if spec.grl is not None and (uses.has_head or (uses.upstream and uses.clothes)):
        found.append(Term("alpha", lambda alpha: alpha, ("alpha",)))
    return found + [Term(f"trunk_gradient_{t.name}", reaching(t), ("trunk", *t.needs)) for t in terms]


def _dead(spec: Spec, uses: _Uses, fusion: fusions.Fusion) -> list[str]:
    """Patterns of what no loss reaches."""
    found = [f"fused.fusion.{pattern}" for pattern in fusion.dead]
    if uses.reader is None:
        found.append("fused.*")
    aligned = on(spec.info_nce) or on(spec.bio) or uses.reader is not None
    if not aligned:
        idle = ["norm?.id.*"] if spec.norm == "batch_per_branch" and uses.match is not None else []
        idle = idle if uses.match is not None else ["*"]
        found += [f"{mlp}.{pattern}" for mlp in ("image_mlp", "text_mlp") for pattern in idle]
        if uses.match is None:
            found += ["shared_mlp.*", "text.*"]
    if not aligned and not on(spec.cls) and uses.decouple is None:
        found.append("id_projection.*")
    if uses.cloth and uses.adversary and not uses.has_head and uses.adversary.weight == uses.cloth.weight:
        found.append("cloth_labels.*")  # the two losses cancel exactly
    return found

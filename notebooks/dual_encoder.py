"""Two towers, contrasted: CLIP's own loss over images and captions, with a classifier that can be switched off.

An architecture in one file, as a laboratory would add its own: the knobs, the modules, the losses.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, final

import torch
import torch.nn.functional as F
from pydantic import AfterValidator, Field
from torch import Tensor

from reid_lab.contracts import Architecture, Batch, Encoded, Facts, GroupRule, Input, InputSpec, Term
from reid_lab.parts import backbones
from reid_lab.parts.captions import caption_input
from reid_lab.parts.heads import Classifier, NoClassifier
from reid_lab.parts.locate import known_name
from reid_lab.parts.losses.identity import identity
from reid_lab.parts.losses.itc import itc
from reid_lab.parts.pairing import pairs
from reid_lab.parts.towers import CLIP_MEAN, CLIP_STD
from reid_lab.schedules import Progress
from reid_lab.seeding import stream
from reid_lab.spec.run import ModelSpec
from reid_lab.spec.schedule import build
from reid_lab.spec.section import Tune
from reid_lab.spec.weight import Weight, on

RESULT_VERSION = 1  # part of a run's identity: raise it when the same run gives other bits


class Spec(ModelSpec):
    """The knobs; a search range stands where a knob is born."""

    TERMS: ClassVar[tuple[str, ...]] = ("itc", "id")

    name: Literal["dual_encoder"] = "dual_encoder"
    backbone: Annotated[str, AfterValidator(known_name)] = "tiny-clip"
    temperature: Annotated[float, Field(gt=0), Tune(0.01, 0.2, log=True)] = 0.05
    id: Annotated[Weight, Tune(0.1, 2.0, log=True)] = 1.0  # null: no classifier


@final
class DualEncoder(Architecture):
    """The model. What is switched off is decided here, not in the methods below."""

    def __init__(self, spec: Spec, facts: Facts, seed: int) -> None:
        super().__init__()
        self.trunk = backbones.clip(spec.backbone, image_size=facts.image_size, pretrained=True, seed=seed)
        context = self.trunk.config.text.context
        self.inputs = {
            "rgb": InputSpec(size=facts.image_size, mean=CLIP_MEAN, std=CLIP_STD),
            "caption": caption_input(self.trunk.tokenizer, context, context, spec.backbone),
        }
        self.scale = 1.0 / spec.temperature
        self.classifier: Classifier | NoClassifier = NoClassifier()
        terms = [Term("itc", itc, ("image", "text", "scale"))]
        if on(spec.id):
            with stream(seed, "classifier"):
                self.classifier = Classifier(self.trunk.width, facts.identities)
            terms.append(Term("id", identity, ("image_logits", "text_logits", "pids"), build(spec.id)))
        self.terms = tuple(terms)

    def encode(self, batch: Batch) -> Encoded:
        """Features `image` and `text` (n, D) of the items of a batch."""
        items: dict[str, Input] = {}
        if (rgb := batch.inputs.get("rgb")) is not None:
            items["image"] = Input(self.trunk.image_features(rgb.values).float(), rgb.rows)
        if (caption := batch.inputs.get("caption")) is not None:
            items["text"] = Input(self.trunk.text_features(caption.values).float(), caption.rows)
        return Encoded(items, batch.groups)

    def values(self, encoded: Encoded, progress: Progress) -> dict[str, Tensor]:
        """What the losses read, of the n pairs of the global batch."""
        if not {"image", "text"} <= encoded.items.keys():
            return {}
        images, texts = encoded.items["image"], encoded.items["text"]
        i, t = pairs(images.rows, texts.rows, len(encoded.groups["pids"]))
        image, text = images.values[i], texts.values[t]
        pids = encoded.groups["pids"][texts.rows[t]]
        scale = torch.tensor(self.scale, device=image.device)
        return {"image": image, "text": text, "pids": pids, "scale": scale, **self.classifier(image=image, text=text)}

    def embed(self, batch: Batch) -> Tensor:
        """(B, D): the mean direction of what a group has."""
        total = torch.zeros(batch.size, self.trunk.width, device=batch.device)
        for item in self.encode(batch).items.values():
            total = total.index_add(0, item.rows, F.normalize(item.values, dim=1))
        return F.normalize(total, dim=1)

    def group_rule(self, parameter: str) -> GroupRule:
        """The classifier is new and learns faster."""
        return GroupRule("new", 5.0) if parameter.startswith("classifier.") else GroupRule("trunk")

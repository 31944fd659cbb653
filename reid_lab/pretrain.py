"""`reid-lab pretrain`: makes the tiny CLIP, ViT and BERT trunks, measures them, and writes their card.

Each is a run like any other (journal, checkpoints, MLflow), on the pretraining world, which shares
no identity, outfit or seed with a split of the benchmark.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from rich.console import Console

from reid_lab import experiment
from reid_lab.architectures.pretrain import BertSpec, ClipSpec, PretrainBert, Pretraining, VitSpec
from reid_lab.assembly import Labels, Parts, assemble, open_source
from reid_lab.data.items import Dataset
from reid_lab.data.synthetic import ATTRIBUTES, Synthetic, SyntheticSpec, vocabulary
from reid_lab.engine.checkpoint import load_weights
from reid_lab.measuring import metrics, tasks
from reid_lab.seeding import keys
from reid_lab.spec.loader import Loaded
from reid_lab.spec.run import (
    AugmentSpec,
    BatchSpec,
    EvalSpec,
    ModelSpec,
    OptimizerSpec,
    RunSpec,
    RuntimeSpec,
    TrainSpec,
)
from reid_lab.spec.schedule import ChainSpec, Length, SegmentSpec
from reid_lab.tracking.runs import RunFolder, write_atomic

PROBED = 4000  # training images that the linear probes of attributes see
SEED = 0


@dataclass(frozen=True)
class Trunk:
    """One trunk to make: its folder, its architecture, and how long it is trained."""

    folder: str
    model: ModelSpec
    roles: tuple[str, ...]
    steps: int
    protocol: str | None
    doc: str


def trunks() -> tuple[Trunk, ...]:
    """The three trunks."""
    words = vocabulary()
    return (
        Trunk(
            "tiny-clip",
            ClipSpec(words=words),
            ("rgb", "caption"),
            1600,
            "text_to_image",
            "image-text contrast with the true attributes as auxiliary supervision",
        ),
        Trunk("tiny-vit", VitSpec(), ("rgb",), 3600, None, "the true attributes of the images"),
        Trunk("tiny-bert", BertSpec(words=words), ("caption",), 1500, None, "masked words of the captions"),
    )


def spec_of(trunk: Trunk, device: str) -> RunSpec:
    """The run that makes a trunk."""
    warm_up = SegmentSpec(start=0.0, end=1.0, length=Length(steps=100))
    decay = SegmentSpec(start=1.0, end=0.0, length=Length(steps=trunk.steps - 100), shape="cosine")
    return RunSpec(
        name=f"pretrain {trunk.folder}",
        description=trunk.doc,
        seed=SEED,
        data=SyntheticSpec(name="synthetic", preset="pretrain", roles=("rgb", "caption")),
        model=trunk.model,
        train=TrainSpec(
            length=Length(steps=trunk.steps),
            batch=BatchSpec(size=96, drop_last=True),
            augment=AugmentSpec(pad=4, erase=0.0),
            optimizer=OptimizerSpec(kind="adamw", lr=1e-3, weight_decay=0.05, betas=(0.9, 0.98)),
            schedule=ChainSpec(kind="chain", segments=(warm_up, decay)),
            clip_norm=1.0,
        ),
        eval=EvalSpec(protocol=trunk.protocol, every=Length(steps=400), select_on="last"),
        runtime=RuntimeSpec(device=device),
    )


def attribute_labels(dataset: Dataset, index: np.ndarray) -> Mapping[str, np.ndarray]:
    """The true attributes of the scenes that items show."""
    synthetic = getattr(dataset, "base", dataset)
    original = dataset.keep[index] if hasattr(dataset, "keep") else index
    return cast(Synthetic, synthetic).item_attributes(original)


LABELS = Labels(ATTRIBUTES, attribute_labels)


def pretrain(out: Path, *, runs: Path, console: Console, device: str | None = None) -> None:
    """Makes all three trunks under `out` and writes the card; finished ones are not trained again."""
    card = []
    for trunk in trunks():
        spec = spec_of(trunk, device or "auto")
        result = experiment.run(Loaded(spec, {}, Path(trunk.folder)), runs=runs, console=console, labels=LABELS)
        parts = assemble(spec, open_source(spec.data, LABELS))
        untrained = _features(parts, trunk)
        load_weights(RunFolder(result.folder).checkpoints / "best.safetensors", parts.model)
        model = cast(Pretraining, parts.model)
        model.write(out / trunk.folder)
        card.append(_entry(trunk, result.seconds, parts, untrained))
        console.print(card[-1])
    write_atomic(out / "README.md", _CARD.format(command="reid-lab pretrain reid_lab/weights") + "\n".join(card))


def _entry(trunk: Trunk, seconds: float, parts: Parts, untrained: dict[str, Any]) -> str:
    """The card of one trunk: what it learned from, and what it can do."""
    size = sum(p.numel() for p in cast(Any, parts.model).trunk.parameters())
    lines = [
        f"\n## {trunk.folder}\n",
        f"{size:,} parameters; learned from {trunk.doc}; {trunk.steps} steps of 96, seed {SEED}, "
        f"{seconds:.0f} s of training on {time.strftime('%Y-%m-%d', time.gmtime())}.\n",
    ]
    return "\n".join([*lines, *_numbers(trunk, parts, untrained), ""])


def _numbers(trunk: Trunk, parts: Parts, untrained: dict[str, Any]) -> Iterator[str]:
    """What is measured of a trunk, as a Markdown table."""
    if trunk.folder == "tiny-clip":
        yield "| zero-shot text to image, 150 identities x 4 images | R1 | R5 | R10 | mAP | mINP |"
        yield "|---|---|---|---|---|---|"
        for preset in ("default", "pretrain"):
            found = zero_shot(parts, preset)
            yield f"| val of the preset `{preset}` | " + " | ".join(f"{v:.1f}" for v in found.values()) + " |"
    elif trunk.folder == "tiny-vit":
        trained = attribute_probe(parts, _features(parts, trunk))
        random = attribute_probe(parts, untrained)
        yield "| linear probe of the attributes, val | mean accuracy |\n|---|---|"
        yield f"| trained | {100 * trained[0]:.1f}% |"
        yield f"| the same network, random weights | {100 * random[0]:.1f}% |"
        yield f"| chance (the most frequent value) | {100 * trained[1]:.1f}% |"
    else:
        accuracy, chance = masked_accuracy(parts)
        yield "| masked words of val captions | accuracy |\n|---|---|"
        yield f"| trained | {100 * accuracy:.1f}% |"
        yield f"| the same network, random weights | {100 * untrained['accuracy']:.1f}% |"
        yield f"| chance (the most frequent word) | {100 * chance:.1f}% |"


def zero_shot(parts: Parts, preset: str) -> dict[str, float]:
    """Text-to-image metrics of the trunk on the val split of a preset."""
    data = SyntheticSpec(name="synthetic", preset=cast(Any, preset), roles=("rgb", "caption"))
    spec = parts.spec.model_copy(update={"data": data})
    source = open_source(data, LABELS)
    other = assemble(spec, source)
    other.model.load_state_dict(parts.model.state_dict())
    return metrics(other, tasks(other, "val"))


def _features(parts: Parts, trunk: Trunk) -> dict[str, Any]:
    """What the model makes of some training images and all val images; of BERT, its accuracy."""
    if trunk.folder == "tiny-bert":
        return {"accuracy": masked_accuracy(parts)[0]}
    if trunk.folder == "tiny-clip":
        return {}
    from reid_lab.data.items import singles

    items = parts.source.dataset.items
    return {split: parts.embed(singles(items, split, "rgb")) for split in ("train", "val")}


def attribute_probe(parts: Parts, features: dict[str, Any]) -> tuple[float, float]:
    """Mean val accuracy over the attributes of linear classifiers on frozen features, and of the commonest value."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    dataset = cast(Synthetic, parts.source.dataset)
    train, val = dataset.attributes("train"), dataset.attributes("val")
    scaler = StandardScaler().fit(features["train"][:PROBED])
    seen, held_out = scaler.transform(features["train"][:PROBED]), scaler.transform(features["val"])
    accuracies, common = [], []
    for name in ATTRIBUTES:
        labels = train[name][:PROBED]
        probe = LogisticRegression(max_iter=200, C=0.1).fit(seen, labels)
        accuracies.append(float((probe.predict(held_out) == val[name]).mean()))
        common.append(float((val[name] == np.bincount(labels).argmax()).mean()))
    return float(np.mean(accuracies)), float(np.mean(common))


def masked_accuracy(parts: Parts) -> tuple[float, float]:
    """Share of the masked words of val captions that are predicted, and that the commonest word would be."""
    from reid_lab.data.items import singles

    model = cast(PretrainBert, parts.model).eval()
    right = total = 0
    wanted: list[int] = []
    groups = singles(parts.source.dataset.items, "val", "caption")
    with torch.inference_mode():
        for number, batch in enumerate(parts.loader.batches(groups, 256)):
            captions = batch.inputs["caption"].values
            logits, labels = model.predict(captions, keys(SEED, number, torch.arange(len(captions))))
            right += int((logits.argmax(dim=1) == labels).sum())
            total += len(labels)
            wanted += labels.tolist()
    return right / total, float(np.bincount(wanted).max() / total)


_CARD = """\
# The tiny trunks

Stand-ins for CLIP, ViT and BERT that two CPU cores can make, in the folder format of Hugging Face:
plain `CLIPModel`, `ViTModel` and `BertModel` load them. The architecture is that of the originals
(linear patches of 16 pixels, class token, end token), the sizes are not. Images are 96x48.

Data: the preset `pretrain` of the embedded benchmark, 2,500 identities with 4 images each in 2 outfits,
so that identity is more than clothes. It shares no identity, outfit or seed with a split of the benchmark.
Licence: that of reid-lab. Made by

    {command}
"""

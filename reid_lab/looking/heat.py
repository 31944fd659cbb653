"""Heat maps over images: what the class token attends to, and which patches are like a word."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reid_lab.contracts import IMAGE_ROLES, TEXT_ROLES
from reid_lab.data.items import ABSENT, Groups, pairs
from reid_lab.engine.evaluate import embed
from reid_lab.errors import Fault, RunError
from reid_lab.looking import attention as weights
from reid_lab.looking import words as tokens
from reid_lab.looking.attention import ImageTrunk
from reid_lab.looking.opened import Opened, items_of, people, role_named
from reid_lab.rankings import ids
from reid_lab.report.figures.style import DIVERGING, Drawn, captioned, sheet, styled
from reid_lab.seeding import rng

IMAGES, CAPTIONS, ACROSS, LONGEST = 8, 2, 10, 40
HEAT = 0.62  # how much of the image the colours cover
READ = "magma"  # over a grey image, dark is not read; all colours get lighter from one end to the other
Array = NDArray[np.float64]


def attention(
    model: Opened,
    *,
    role: str | None = None,
    images: int = IMAGES,
    identities: Sequence[int] | None = None,
    seed: int = 0,
) -> Drawn:
    """Images of a role, one of each person, and what the class token attends to: in the last block, and through all.

    identities: the people, else `images` of them, drawn with the seed. Raises `UserError`: a model without a
    transformer that reads such images, an identity that is not there.
    """
    role = _image_role(model, role)
    groups = items_of(model, role)
    trunks = weights.image_trunks(model.parts.model, role)
    if not trunks:
        what = f"{model.parts.spec.model.name} has no image transformer with a class token, whose attention is drawn"
        raise RunError(Fault(what, model.folder.run_id))
    shown = _one_each(groups, images if identities is None else identities, seed, model)
    seen = attended(model, groups.take(shown), trunks)
    model.looked("attention")
    chosen, named = groups.take(shown), ids(model.parts.source.dataset.items, groups.take(shown))
    pixels = model.parts.source.dataset.images(chosen.members[role], model.parts.model.inputs[role].size)
    rows: list[dict[str, object]] = []
    with styled():
        height, width = pixels.shape[-2:]
        wide = 0.85 * max(1.0, width / height * 2)
        down, across = 1 + len(seen), len(pixels)
        figure, axes = sheet(
            down, across, width=max(5.2, wide * across + 1.5), height=0.9 + down * wide * height / width
        )
        for column, plane in enumerate(pixels):
            camera = "" if chosen.camids[column] == ABSENT else f", c{chosen.camids[column]}"
            _picture(axes[column], plane)
            axes[column].set_title(f"{chosen.pids[column]}{camera}", fontsize=7)
        for row, (trunk, what, maps) in enumerate(seen, 1):
            panels = axes[row * across : (row + 1) * across]
            top = 100 * float(maps.max())
            for panel, plane, heat in zip(panels, pixels, maps, strict=True):
                drawn = _overlaid(panel, plane, 100 * heat.reshape(trunk.embed.grid), trunk, (0.0, top), READ)
            several = f"{trunk.name}\n" if len(trunks) > 1 else ""
            panels[0].set_ylabel(several + what)
            figure.colorbar(drawn, ax=panels, fraction=0.04, pad=0.01).set_label("share, %", fontsize=7)
            rows += [
                {
                    "run": model.folder.run_id,
                    "part": model.part,
                    "item": named[image],
                    "pid": int(chosen.pids[image]),
                    "trunk": trunk.name,
                    "what": what,
                    "row": cell // trunk.embed.grid[1],
                    "column": cell % trunk.embed.grid[1],
                    "weight": float(maps[image, cell]),
                }
                for image in range(len(maps))
                for cell in range(trunk.patches)
            ]
        axes[0].set_ylabel(role)
        caption = captioned(
            figure,
            f"{model.name}: {len(pixels)} {role} images of {model.part}, with identity and camera "
            f"({'those asked for' if identities is not None else f'drawn with seed {seed}'}). "
            "Last block: what the class token attends to, the mean of the heads. Rollout: the product over all blocks "
            "of (mean of the heads + identity) / 2 (Abnar and Zuidema, 2020). A cell is a patch; a row of images "
            "shares its colours. Attention tells what is read, not what decides.",
            *model.notes,
        )
    return Drawn("attention", figure, rows, caption)


def attended(model: Opened, groups: Groups, trunks: Sequence[ImageTrunk]) -> list[tuple[ImageTrunk, str, Array]]:
    """Of every trunk the weights (n, patches) of the last block, and of the rollout."""
    with ExitStack() as stack:
        kept = [stack.enter_context(weights.recorded(trunk.blocks)) for trunk in trunks]
        _pass(model, groups)
    found: list[tuple[ImageTrunk, str, Array]] = []
    for trunk, layers in zip(trunks, kept, strict=True):
        for what, how in (("last block", weights.last_layer), ("rollout", weights.rollout)):
            found.append((trunk, what, how(layers, trunk.patches).double().numpy()))
    return found


def patch_words(
    model: Opened,
    *,
    role: str | None = None,
    captions: int = CAPTIONS,
    identities: Sequence[int] | None = None,
    seed: int = 0,
) -> Drawn:
    """Images and, for each word of a caption of theirs, how like every patch is to it.

    identities: the people, else `captions` of them, drawn with the seed. Raises `UserError`: a model that reads no
    text, or whose words and patches share no space; an identity that is not there.
    """
    role, text = _image_role(model, role), _text_role(model)
    space = tokens.shared_space(model.parts.model)
    found = [trunk for trunk in weights.image_trunks(model.parts.model, role) if space and trunk.blocks is space.image]
    if space is None or not found:
        what = f"words and patches of {model.parts.spec.model.name} are projected into no space that they share"
        raise RunError(Fault(what, model.folder.run_id))
    (trunk,), items = found, model.parts.source.dataset.items
    whole = pairs(items, model.part, role, text)
    whole = whole.take(np.flatnonzero(whole.members[role] != ABSENT))
    shown = whole.take(_one_each(whole, captions if identities is None else identities, seed, model))
    with tokens.recorded(space) as kept:
        for side in (role, text):
            _pass(model, Groups({side: shown.members[side]}, shown.pids, shown.camids, shown.image_ids, shown.labels))
    like = tokens.likeness(space, kept.image[0], kept.text[0], trunk.patches).cpu().double().numpy()
    model.looked("words")
    told = [str(items.caption[k]) for k in shown.members[text]]
    spans = [tokens.spans(caption, model.parts.model.inputs[text])[:LONGEST] for caption in told]
    pixels = model.parts.source.dataset.images(shown.members[role], model.parts.model.inputs[role].size)
    named = ids(items, Groups({role: shown.members[role]}, shown.pids, shown.camids, shown.image_ids))
    rows: list[dict[str, object]] = []
    with styled():
        height, width = pixels.shape[-2:]
        lines = [max(1, math.ceil((1 + len(own)) / ACROSS)) for own in spans]
        tall = min(1.6, 0.6 * height / width)
        figure, axes = sheet(sum(lines), ACROSS, width=0.7 * ACROSS + 0.9, height=0.9 + (tall + 0.22) * sum(lines))
        for panel in axes:
            panel.set_axis_off()
        at = 0
        for image, own in enumerate(spans):
            panels = axes[at * ACROSS : (at + lines[image]) * ACROSS]
            at += lines[image]
            _picture(panels[0], pixels[image])
            panels[0].set_title(f"identity {shown.pids[image]}", fontsize=7)
            maps = [like[image, first:last].mean(axis=0) for _, first, last in own]
            if not maps:
                continue
            own_part = [heat - np.mean(maps, axis=0) for heat in maps]
            top = max(float(np.abs(heat).max()) for heat in own_part) or 1.0
            for panel, (word, _, _), heat in zip(panels[1:], own, own_part, strict=False):
                shaped = heat.reshape(trunk.embed.grid)
                drawn = _overlaid(panel, pixels[image], shaped, trunk, (-top, top), f"{DIVERGING}_r")
                panel.set_title(word, fontsize=7)
            figure.colorbar(drawn, ax=panels, fraction=0.03, pad=0.01).set_label("cosine - mean of words", fontsize=7)
            rows += [
                {
                    "run": model.folder.run_id,
                    "part": model.part,
                    "item": named[image],
                    "pid": int(shown.pids[image]),
                    "caption": told[image],
                    "place": place,
                    "word": word,
                    "row": cell // trunk.embed.grid[1],
                    "column": cell % trunk.embed.grid[1],
                    "cosine": float(heat[cell]),
                    "shown": float(special[cell]),
                }
                for place, ((word, _, _), heat, special) in enumerate(zip(own, maps, own_part, strict=True))
                for cell in range(trunk.patches)
            ]
        caption = captioned(
            figure,
            f"{model.name}: {role} images of {model.part} and the words of a {text} each "
            f"({'people asked for' if identities is not None else f'drawn with seed {seed}'}). A map is the cosine of "
            "a word's tokens (their mean) with each patch, both as the last block, norm and projection of their "
            "towers leave them, minus the patch's mean over all words of the caption. No loss compares words "
            "with patches, and a causal tower's word has read the words before it. One scale of colours for each "
            "caption.",
            *model.notes,
        )
    return Drawn("words", figure, rows, caption)


def _image_role(model: Opened, role: str | None) -> str:
    read = [name for name in model.parts.model.inputs if name in IMAGE_ROLES]
    if not read:
        raise RunError(Fault(f"{model.parts.spec.model.name} reads no images", model.folder.run_id))
    if role is None:
        return "rgb" if "rgb" in read else read[0]
    found = role_named(model, role)
    if found not in read:
        what = f"{model.parts.spec.model.name} reads no {found} images (it reads {', '.join(read)})"
        raise RunError(Fault(what, model.folder.run_id))
    return found


def _text_role(model: Opened) -> str:
    read = [name for name in TEXT_ROLES if name in model.parts.model.inputs]
    if not read:
        what = f"{model.parts.spec.model.name} reads no text (it reads {', '.join(model.parts.model.inputs)})"
        raise RunError(Fault(what, model.folder.run_id))
    return read[0]


def _one_each(groups: Groups, wanted: Sequence[int] | int, seed: int, model: Opened) -> NDArray[np.int64]:
    """A group of each person who is wanted, drawn with the seed."""
    shown = people(groups.pids, wanted, seed, f"{model.part} of {model.parts.spec.data.name}")
    order = rng("figure", "items", seed).permutation(len(groups))
    return np.array([next(k for k in order.tolist() if groups.pids[k] == pid) for pid in shown.tolist()])


def _pass(model: Opened, groups: Groups) -> None:
    """One batch of all groups through the model."""
    batch = model.parts.loader.batch(groups, np.arange(len(groups)))
    embed(model.parts.model, [batch], model.parts.prepare, model.parts.runtime)


def _picture(panel: Any, pixels: NDArray[np.uint8]) -> None:
    """(C, H, W) uint8, without axes."""
    panel.imshow(pixels.transpose(1, 2, 0) if len(pixels) == 3 else pixels[0], cmap="gray", vmin=0, vmax=255)
    _bare(panel)


def _overlaid(
    panel: Any, pixels: NDArray[np.uint8], heat: Array, trunk: ImageTrunk, span: tuple[float, float], colours: str
) -> Any:
    """The image in grey, and a colour for every patch over it."""
    height, width = pixels.shape[-2:]
    grey = pixels.astype(float).mean(axis=0)
    panel.imshow(grey, cmap="gray", vmin=0, vmax=255, extent=(0, width, height, 0))
    drawn = panel.imshow(
        heat, cmap=colours, alpha=HEAT, vmin=span[0], vmax=span[1], extent=trunk.cells, interpolation="nearest"
    )
    panel.set_xlim(0, width)
    panel.set_ylim(height, 0)
    _bare(panel)
    return drawn


def _bare(panel: Any) -> None:
    panel.set_xticks([])
    panel.set_yticks([])
    panel.grid(False)
    for spine in panel.spines.values():
        spine.set_visible(False)

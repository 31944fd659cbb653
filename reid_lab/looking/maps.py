"""Maps of embeddings: principal components and t-SNE of the items of a few people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from reid_lab.data.items import ABSENT, Groups
from reid_lab.errors import DataError, Fault, UserError
from reid_lab.looking.opened import Opened, people, roles_of, task_of
from reid_lab.report.figures.style import COLOURS, GREY, MARKERS, Drawn, captioned, sheet, styled

IDENTITIES, PERPLEXITY = 12, 15.0
Array = NDArray[np.float64]


@final
@dataclass(frozen=True)
class Points:
    """Embeddings (n, D) of items, whom they show, their modalities and cameras (n,); `what` of both is marked."""

    vectors: Array
    pids: NDArray[np.int64]
    modality: list[str]
    camera: list[str]
    what: Literal["modality", "camera"]
    task: str

    @property
    def kinds(self) -> list[str]:
        """What a mark tells."""
        return self.modality if self.what == "modality" else self.camera


@final
@dataclass(frozen=True)
class Plane:
    """Places (n, 2). axes: what they are called; told: how they were found."""

    places: Array
    axes: tuple[str, str]
    told: str


def principal(vectors: Array) -> Plane:
    """The first two principal components, with the share of the variance that each explains."""
    from sklearn.decomposition import PCA

    made = PCA(n_components=2, svd_solver="full").fit(vectors)
    names = [f"component {k + 1} ({100 * share:.0f}%)" for k, share in enumerate(made.explained_variance_ratio_)]
    share = 100 * made.explained_variance_ratio_.sum()
    return Plane(made.transform(vectors), (names[0], names[1]), f"two components explain {share:.1f}% of the variance")


def neighbours(vectors: Array, perplexity: float, seed: int) -> Plane:
    """t-SNE (van der Maaten and Hinton, 2008), begun at the principal components."""
    from sklearn.manifold import TSNE

    made = TSNE(2, perplexity=perplexity, init="pca", learning_rate="auto", random_state=seed)
    places = np.asarray(made.fit_transform(vectors), dtype=float)
    told = f"t-SNE with perplexity {perplexity:g} and seed {seed}, divergence {made.kl_divergence_:.3f}"
    return Plane(places, ("", ""), told)


def points(model: Opened, *, task: str | None, wanted: Sequence[int] | int, seed: int) -> Points:
    """The queries and the gallery of the task, each item once, of the people that are wanted. Raises `UserError`."""
    asked = task_of(model, task)
    sides = [asked.queries]
    if not _same(asked.queries, asked.gallery):
        sides.append(asked.gallery)
    pids = np.concatenate([side.pids for side in sides])
    shown = people(pids, wanted, seed, f"{model.part} of {model.parts.spec.data.name}")
    vectors, chosen, roles, cameras = [], [], list[str](), list[int]()
    for side in sides:
        mine = np.flatnonzero(np.isin(side.pids, shown))
        vectors.append(model.embed(side).numpy()[mine].astype(float))
        chosen.append(side.pids[mine])
        named = roles_of(side)
        roles += [named[k] for k in mine.tolist()]
        cameras += side.camids[mine].tolist()
    by_camera = len(set(roles)) == 1 and 1 < len(set(cameras)) <= len(MARKERS)
    named_cameras = ["" if camera == ABSENT else f"camera {camera}" for camera in cameras]
    what: Literal["modality", "camera"] = "camera" if by_camera else "modality"
    return Points(np.concatenate(vectors), np.concatenate(chosen), roles, named_cameras, what, asked.name)


def _same(a: Groups, b: Groups) -> bool:
    return a.members.keys() == b.members.keys() and all(
        np.array_equal(a.members[role], b.members[role]) for role in a.members
    )


def embedding_map(
    models: Sequence[Opened],
    *,
    task: str | None = None,
    identities: Sequence[int] | int = IDENTITIES,
    perplexity: float = PERPLEXITY,
    seed: int = 0,
) -> Drawn:
    """A row for each model: PCA and t-SNE of the items of a few people.

    identities: so many, drawn with the seed, or these. Raises `UserError`: an identity that is not there, a
    perplexity that so few items do not allow.
    """
    found = []
    for model in models:
        seen = points(model, task=task, wanted=identities, seed=seed)
        n = len(seen.pids)
        if n < 4 or not 1 <= perplexity < n:
            what = f"--with perplexity={perplexity:g}: with {n} items it must be at least 1 and below {n}"
            raise UserError(what) if n >= 4 else DataError(Fault(f"{n} items are too few for a map", model.name))
        found.append((model, seen, (principal(seen.vectors), neighbours(seen.vectors, perplexity, seed))))
        model.looked("map")
    rows: list[dict[str, object]] = []
    with styled():
        figure, axes = sheet(len(found), 2, width=7.6, height=0.9 + 3.6 * len(found))
        for row, (model, seen, planes) in enumerate(found):
            for panel, plane, method in zip(axes[2 * row : 2 * row + 2], planes, ("PCA", "t-SNE"), strict=True):
                _draw(panel, plane, seen)
                panel.set_title(f"{model.name}: {method}", loc="left")
                rows += [
                    {
                        "run": model.folder.run_id,
                        "part": model.part,
                        "method": method,
                        "told": plane.told,
                        "pid": int(pid),
                        "modality": modality,
                        "camera": camera,
                        "x": float(x),
                        "y": float(y),
                    }
                    for pid, modality, camera, (x, y) in zip(
                        seen.pids, seen.modality, seen.camera, plane.places, strict=True
                    )
                ]
            _legend(axes[2 * row], seen)
        told = "; ".join(
            f"{model.name}, {seen.task}, {len(seen.pids)} items: {', '.join(plane.told for plane in planes)}"
            for model, seen, planes in found
        )
        marks = " or ".join(dict.fromkeys(seen.what for _, seen, _ in found))
        shown = found[0][1]
        drawn = f"drawn with seed {seed}" if isinstance(identities, int) else "those asked for"
        caption = captioned(
            figure,
            f"Embeddings of the items of {len(set(shown.pids.tolist()))} identities of {models[0].part} "
            f"({drawn}): colour and number are the identity, the mark is the {marks}. {told}. "
            "t-SNE keeps neighbours, not distances: neither the size of a cluster nor what lies between two of "
            "them says anything. These trained models only.",
            *(note for model in models for note in model.notes),
        )
    return Drawn("map", figure, rows, caption)


def _draw(panel: Any, plane: Plane, seen: Points) -> None:
    """Every person in a colour, those of the second round hollow; the number stands above the item in the middle."""
    kinds = sorted(set(seen.kinds))
    for place, pid in enumerate(sorted(set(seen.pids.tolist()))):
        colour, hollow = COLOURS[place % len(COLOURS)], place // len(COLOURS) % 2 == 1
        own = seen.pids == pid
        for kind in kinds:
            mine = own & (np.array(seen.kinds) == kind)
            panel.scatter(
                *plane.places[mine].T,
                s=26,
                marker=MARKERS[kinds.index(kind) % len(MARKERS)],
                facecolors="none" if hollow else colour,
                edgecolors=colour if hollow else "white",
                linewidths=1.1 if hollow else 0.4,
                zorder=3,
            )
        middle = np.median(plane.places[own], axis=0)
        first = plane.places[own][np.linalg.norm(plane.places[own] - middle, axis=1).argmin()]
        halo = {"boxstyle": "round,pad=0.1", "fc": "white", "ec": "none", "alpha": 0.7}
        at = {"xytext": (0, 5), "textcoords": "offset points", "ha": "center", "va": "bottom", "bbox": halo}
        panel.annotate(str(pid), first, color=colour, fontsize=6.5, zorder=2, **at)
    panel.set_xlabel(plane.axes[0])
    panel.set_ylabel(plane.axes[1])
    if not plane.axes[0]:
        panel.set_xticks([])
        panel.set_yticks([])


def _legend(panel: Any, seen: Points) -> None:
    for number, kind in enumerate(sorted(set(seen.kinds))):
        panel.scatter([], [], color=GREY, marker=MARKERS[number % len(MARKERS)], label=kind or f"{seen.what} unknown")
    panel.legend(loc="best", handletextpad=0.2)

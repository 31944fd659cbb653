"""Search a gallery with a finished run's model: by words, by images, or by both as one fused query.

The gallery is a folder of image files of which nothing else is known, or the run's own test gallery, whose
identities are. Its embeddings are kept (`data.gallery`), so that the next search embeds the query alone.
Whatever happens is imported late: a search should take as long as loading torch and the model does.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from reid_lab.assembly import Parts, Source, architecture, open_source
from reid_lab.catalogue import cache_folder
from reid_lab.contracts import IMAGE_ROLES, TEXT_ROLES, InputSpec
from reid_lab.data import gallery as kept
from reid_lab.data.decode import plain
from reid_lab.data.items import ABSENT, Dataset, Groups, Row, resolve_modality
from reid_lab.data.loader import RESULT_VERSION as DATA_VERSION
from reid_lab.data.loader import Loader
from reid_lab.data.splits import only
from reid_lab.engine.checkpoint import identify
from reid_lab.errors import DataError, Fault, UserError
from reid_lab.metrics.top import top as first
from reid_lab.reload import alone
from reid_lab.tracking.runs import find

if TYPE_CHECKING:
    from PIL.Image import Image

PAGES = (".html", ".png")
_SHOWN = 5  # unreadable files that are named
_WORD = re.compile(r"[^\W\d_]{2,}")


@dataclass(frozen=True)
class Answer:
    """What a search found, best first.

    names: of the images, paths below the gallery's folder where it is one. scores: inner products of
    embeddings. pids: -1 where unknown. correct: whether an image shows the person looked for; None where that
    is not known. notes: what should be told besides. gallery: how many images were searched.
    """

    names: list[str]
    scores: list[float]
    pids: list[int]
    correct: list[bool | None]
    notes: list[str]
    gallery: int


@dataclass(frozen=True)
class _Model:
    """A run's model, over no data, and the sha256 of its weights. width: of its embeddings."""

    parts: Parts
    weights: str
    width: int = 0


def search(
    name: str,
    runs: Path,
    *,
    words: str | None = None,
    images: Sequence[str] = (),
    gallery: str | None = None,
    top: int = 20,
    pid: int | None = None,
    out: Path | None = None,
    device: str | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Answer:
    """Ranks a gallery for one query and writes a page of the first ones.

    Args:
        name: a run's id, or how it begins.
        words: the text of the query.
        images: `FILE` (rgb) or `ROLE=FILE`, one for each modality.
        gallery: a folder of images, `FOLDER` (rgb) or `ROLE=FOLDER`; None: the run's own test gallery.
        pid: the identity looked for, if known; by default it is that of a test caption that is worded so.
        out: the page to write, `.html` or `.png`; an existing one is replaced.
        say: is told what takes long, before it does.

    Raises:
        UserError: an unknown or unfinished run, a query that is empty, cannot be read or that the model does
            not read, a gallery without images.
    """
    if out is not None and out.suffix.lower() not in PAGES:
        raise UserError(f"--out {out}: a page is one of {', '.join(PAGES)}")
    if words is not None and not words.strip():
        raise UserError("the words of the query are empty")
    if words is None and not images:
        raise UserError("nothing to search for: give words, or --image FILE, or both")
    folder = find(runs, name)
    model = _Model(alone(folder, device), identify(folder.selected)[1])
    rows = _query(model.parts, words, images)
    notes = list(_told_of_words(model.parts, rows))
    query = _embedded(model.parts, rows)
    model = replace(model, width=query.shape[1])
    place = None if gallery is None else _of_role(gallery, model.parts, "--gallery")
    found = _own(model, say) if place is None else _folder(model, *place, say)
    readable = np.flatnonzero(np.isfinite(found.vectors).all(axis=1))
    if not len(readable):
        raise DataError(Fault("none of its images can be read", found.where))
    if top > len(readable):
        notes.append(f"the gallery has {len(readable)} images: all are ranked")
    vectors = found.vectors if len(readable) == len(found.vectors) else found.vectors[readable]
    indices, scores = first(query, torch.from_numpy(vectors), top)
    best = readable[indices[0].numpy()]
    if pid is not None and found.dataset is None:
        notes.append(f"--pid {pid}: who is on the images of {found.where} is not known")
    wanted = _identity(found, rows) if pid is None else pid
    pids = found.pids[best].tolist()
    correct = [None if wanted is None or found.dataset is None else p == wanted for p in pids]
    names = [found.names[k] for k in best]
    answer = Answer(names, scores[0].tolist(), pids, correct, [*notes, *found.notes], len(readable))
    if out is not None:
        _write_page(answer, found, best, rows, f"{folder.run_id} · {found.where} · {len(readable):,} images", out)
    return answer


def _of_role(given: str, parts: Parts, option: str) -> tuple[str, Path]:
    """The role and path of `PATH` or `ROLE=PATH`."""
    head, sign, tail = given.partition("=")
    read = [role for role in parts.model.inputs if role in IMAGE_ROLES]
    model = parts.spec.model.name
    if not read:
        raise UserError(f"{option}: {model} reads no images (it reads {', '.join(parts.model.inputs)})")
    if not sign or Path(given).exists():
        return read[0] if "rgb" not in read else "rgb", Path(given)
    try:
        role = resolve_modality(head, parts.spec.data.aliases)
    except DataError as error:
        raise UserError(f"{option} {given}: {error}") from error
    if role not in read:
        raise UserError(f"{option} {given}: {model} does not read {role} images (it reads {', '.join(read)})")
    return role, Path(tail)


def _query(parts: Parts, words: str | None, images: Sequence[str]) -> list[Row]:
    """The items of the query, one a role."""
    rows: list[Row] = []
    faults: list[Fault] = []
    for given in images:
        role, path = _of_role(given, parts, "--image")
        if not path.is_file():
            faults.append(Fault("is no file" if path.exists() else "no such image", str(path)))
        elif role in [row.role for row in rows]:
            faults.append(Fault(f"a second {role} image: a query has one of each modality", str(path)))
        else:
            rows.append(kept.image(path.absolute(), role))
    if faults:
        raise DataError(*faults)
    if words is not None:
        read = [role for role in TEXT_ROLES if role in parts.model.inputs]
        if not read:
            what = ", ".join(parts.model.inputs)
            raise UserError(f"{parts.spec.model.name} reads no text (it reads {what}); search with --image")
        rows.append(kept.text(words.strip(), read[0]))
    return rows


def _resample(parts: Parts) -> str:
    """How the run's own data resizes images."""
    return str(getattr(parts.spec.data, "resize", "bilinear"))


def _over(parts: Parts, rows: Sequence[Row], root: Path) -> Parts:
    """The model over loose items."""
    loose = kept.Loose(rows, root, parts.source.facts.image_size, _resample(parts))
    return replace(parts, source=Source(loose, parts.source.facts, None), loader=Loader(loose, parts.model.inputs))


def _embedded(parts: Parts, rows: Sequence[Row]) -> torch.Tensor:
    """One group of all the items: (1, D)."""
    members = {row.role: np.array([k]) for k, row in enumerate(rows)}
    return _over(parts, rows, Path()).embed(_unlabelled(members, 1))  # type: ignore[no-any-return]


def _unlabelled(members: Mapping[str, np.ndarray], count: int) -> Groups:
    unknown_of = np.full(count, ABSENT, dtype=np.int64)
    return Groups(members, unknown_of, unknown_of, unknown_of)


def _told_of_words(parts: Parts, rows: Sequence[Row]) -> Iterator[str]:
    """Words that the model's vocabulary spells letter by letter, and a text that is cut."""
    for row in rows:
        if row.caption is None:
            continue
        wanted = parts.model.inputs[row.role]
        words = list(dict.fromkeys(_WORD.findall(row.caption)))
        pieces = dict(zip(words, _lengths(words, wanted), strict=True))
        strange = [word for word, count in pieces.items() if count > 1 and 2 * count >= len(word)]
        if strange:
            yield f"words that the model's vocabulary does not hold, which say little: {', '.join(strange)}"
        if _lengths([row.caption], wanted)[0] + 2 >= wanted.max_length:
            yield f"the text fills all {wanted.max_length} tokens that the model reads; what is longer is cut"


def _lengths(texts: list[str], wanted: InputSpec) -> list[int]:
    """How many tokens each text has, start and end not counted."""
    if not texts or wanted.tokenize is None:
        return []
    ids = wanted.tokenize(texts)
    return [count - 2 for count in (ids != wanted.pad_id).sum(dim=1).tolist()]


@dataclass(frozen=True)
class _Gallery:
    """Embeddings (n, D) of a gallery; names and pids (n,); how one of its images is read for a page."""

    vectors: np.ndarray
    names: Sequence[str]
    pids: np.ndarray
    picture: Callable[[int], Image]
    where: str
    notes: list[str]
    dataset: Dataset | None = None
    root: str | None = None  # of the data set's paths


def store(parts: Parts, weights: str, *more: str) -> Path:
    """Where embeddings are kept: named by everything that decides them beside the files themselves.

    weights: the sha256 of the model's weights. more: what tells the items.
    """
    about = {
        "weights": weights,
        "model": parts.spec.model.model_dump(mode="json"),
        "versions": [architecture(parts.spec).result_version, DATA_VERSION],
        "inputs": {role: asdict(replace(wanted, tokenize=None)) for role, wanted in parts.model.inputs.items()},
        "resample": _resample(parts),
        "computed": [parts.runtime.device.type, parts.runtime.precision],
        "more": more,
    }
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    return cache_folder() / "galleries" / f"{digest[:32]}.npz"


def _folder(model: _Model, role: str, folder: Path, say: Callable[[str], None]) -> _Gallery:
    """A folder of images of one role."""
    names = kept.image_files(folder)

    def embed(part: Sequence[str]) -> np.ndarray:
        say(f"embedding {len(part):,} images of {folder}; they are kept for the next search")
        size = model.parts.spec.eval.batch
        return np.concatenate([_readable(model, role, folder, part[k : k + size]) for k in range(0, len(part), size)])

    found = kept.embedded(folder, names, store(model.parts, model.weights, role, os.path.realpath(folder)), embed)
    notes = [found.problem] if found.problem else []
    broken = np.flatnonzero(~np.isfinite(found.vectors).all(axis=1))
    if len(broken):
        listed = ", ".join(names[k] for k in broken[:_SHOWN]) + (", …" if len(broken) > _SHOWN else "")
        notes.append(f"{folder}: {len(broken)} of {len(names)} images cannot be read and are left out: {listed}")

    def picture(number: int) -> Image:
        return _opened(folder / names[number])

    return _Gallery(found.vectors, names, np.full(len(names), ABSENT), picture, str(folder), notes)


def _readable(model: _Model, role: str, folder: Path, names: Sequence[str]) -> np.ndarray:
    """The embeddings (n, D) of one batch of files; a row of NaN where a file cannot be read."""
    over = _over(model.parts, [kept.image(name, role) for name in names], folder)
    good = np.arange(len(names))
    while len(good):
        try:
            vectors = over.embed(_unlabelled({role: good}, len(good))).numpy()
        except DataError as error:
            told = {fault.where for fault in error.faults}
            left = np.array([k for k in good.tolist() if str(folder / names[k]) not in told], dtype=np.int64)
            if len(left) == len(good):
                raise
            good = left
            continue
        whole = np.full((len(names), vectors.shape[1]), np.nan, dtype=np.float32)
        whole[good] = vectors
        return whole
    return np.full((len(names), model.width), np.nan, dtype=np.float32)


def _own(model: _Model, say: Callable[[str], None]) -> _Gallery:
    """The gallery that the run was tested with."""
    from reid_lab import measuring

    spec, facts = model.parts.spec, model.parts.source.facts
    dataset = only(open_source(spec.data).dataset, ("test",))
    parts = replace(model.parts, source=Source(dataset, facts, None))
    asked = measuring.tasks(parts, "test")
    if not asked:
        raise UserError(f"{spec.data.name} has no test gallery for this run; give --gallery FOLDER")
    groups, items = asked[0].gallery, dataset.items
    shown = [role for role in groups.members if role in IMAGE_ROLES]
    if not shown:
        raise UserError(f"the gallery of {asked[0].name} holds texts; give --gallery FOLDER")
    numbers = groups.members[shown[0]]

    def embed() -> np.ndarray:
        say(f"embedding the {len(groups):,} images of the test gallery; they are kept for the next search")
        return replace(parts, loader=Loader(dataset, parts.model.inputs)).embed(groups).numpy()  # type: ignore[no-any-return]

    members = hashlib.sha256(b"".join(role.encode() + column.tobytes() for role, column in groups.members.items()))
    found = kept.remembered(store(parts, model.weights, dataset.digest, members.hexdigest()), embed)
    names = [items.path[k] or f"image {items.image_id[k]}" for k in numbers]

    def picture(number: int) -> Image:
        from reid_lab.data.ranked import picture as drawn

        return drawn(dataset.images(numbers[number : number + 1], None)[0])

    notes = [found.problem] if found.problem else []
    where = f"the test gallery of {spec.data.name}"
    return _Gallery(found.vectors, names, groups.pids, picture, where, notes, dataset, spec.data.root)


def _identity(found: _Gallery, rows: Sequence[Row]) -> int | None:
    """Whom the query shows, when all of it are captions and images of the test data, and of one person."""
    if found.dataset is None:
        return None
    items, root = found.dataset.items, found.root

    def of(row: Row) -> set[int]:
        if row.caption is not None:
            return set(items.pid[items.caption == row.caption].tolist())
        path, inside = Path(row.path or ""), Path(root or "").absolute()
        if root is None or not path.is_relative_to(inside):
            return set()
        return set(items.pid[items.path == path.relative_to(inside).as_posix()].tolist())

    pids = set.intersection(*map(of, rows))
    return pids.pop() if len(pids) == 1 else None


def _opened(file: Path) -> Image:
    """The image of a file in its own size."""
    from PIL import Image as Pillow

    with Pillow.open(file) as opened:
        return plain(opened).convert("RGB")


def _write_page(answer: Answer, found: _Gallery, best: np.ndarray, rows: Sequence[Row], about: str, out: Path) -> None:
    """The page, whole or not at all."""
    from reid_lab.data.ranked import Hit, Ranked, sheet

    asked = [(row.role, _opened(Path(row.path))) for row in rows if row.path is not None]
    hits = [
        Hit(found.picture(int(k)), name, score, correct)
        for k, name, score, correct in zip(best, answer.names, answer.scores, answer.correct, strict=True)
    ]
    page = Ranked(next((row.caption for row in rows if row.caption), ""), asked, hits, [about])
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        if out.suffix.lower() == ".png":
            sheet(page).save(temporary, "PNG")
        else:
            from reid_lab.data.pages import html

            temporary.write_text(html(page), encoding="utf-8")
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)

"""Functions that look into a finished run: what its embeddings hold, and where its test failed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from reid_lab.api.given import PathLike, folder, name_of, overrides, teller, words


def probe(
    run: Any,
    *,
    split: Literal["train", "val", "test"] = "val",
    attributes: Sequence[str] = (),
    embeddings: Sequence[str] = (),
    people: int = 500,
    folds: int = 5,
    seed: int = 0,
    images: int = 2,
    out: PathLike | None = None,
    device: str | None = None,
    quiet: bool = False,
    sets: Sequence[str] = (),
    runs: PathLike | None = None,
    **values: Any,
) -> dict[str, Any]:
    """Reads clothes, body, camera and identity from a run's embeddings: `reid-lab probe`.

    Args:
        run: its id, how it begins, its folder, or what `run` returned.
        split: whose people are probed; a look at test is recorded.
        attributes, embeddings: names; by default the usual attributes, and all embeddings.
        people: at most so many, 10 or more.
        folds: of the cross-validation, 2 or more.
        seed: of folds, permutations and resamples.
        images: of each person that are changed for the counterfactuals.
        out: a file, `.json` or `.csv`, instead of `probing/probe.json` in the run's folder.
        quiet: says nothing.
        **values: overrides of the run's spec, as in `evaluate`.

    Returns:
        What is written: `probes`, a row for each embedding and attribute (a data frame can be made of it);
        `counterfactual`, how far embeddings move when one thing is changed, or None; `notes`.

    Raises:
        UserError: a run without weights, a split that is not there or was trained on, an unknown attribute or
            embedding, one that takes a single value.
    """
    asked = overrides(sets, values)
    from reid_lab.probing.run import Asked, probe_run

    wanted = Asked(split, people, folds, seed, images, tuple(words(attributes)), tuple(words(embeddings)))
    place = None if out is None else Path(out)
    return probe_run(name_of(run), folder(runs), wanted, sets=asked, device=device, out=place, say=teller(quiet))


def slices(
    run: Any,
    other: Any = None,
    *,
    by: Sequence[str] = (),
    metric: str = "mAP",
    seed: int = 0,
    out: PathLike | None = None,
    device: str | None = None,
    quiet: bool = False,
    runs: PathLike | None = None,
) -> dict[str, Any]:
    """The metrics of slices of a test's queries, of one run or of two: `reid-lab slices`.

    Args:
        run, other: runs, named as in `probe`; `other` was tested with the same queries.
        by: names of slicings; by default all that records and data tell. `camera pair` embeds the test again, and that
            look is recorded.
        metric: what gets an interval: `mAP`, `R1`, `R5` or `mINP`.
        seed: of resamples.
        out: a file, `.json` or `.csv`, instead of one in the run's folder.
        quiet: says nothing.

    Returns:
        What is written: `rows`, one for each slice, `claim`, what the intervals are about, and `notes`.

    Raises:
        UserError: a run without a test or its queries, runs that were asked other things, an unknown slicing or metric.
    """
    from reid_lab.probing.failures import slices_run

    return slices_run(
        name_of(run),
        folder(runs),
        None if other is None else name_of(other),
        by=words(by),
        metric=metric,
        seed=seed,
        device=device,
        out=None if out is None else Path(out),
        say=teller(quiet),
    )

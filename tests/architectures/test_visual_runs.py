"""Ordinary runs of the visual slots: views, of which data tell the number and batches which one; aggregated triples."""

from __future__ import annotations

import json

import pytest

from reid_lab.engine.checkpoint import MODEL, load
from reid_lab.parts.sie import SideSpec, side_information
from tests.lab import WORLD, losses

VISUAL = ("train.batch={sampler: identity, size: 8, instances: 2}", "eval.protocol=image_to_image")
SPECTRAL = ("roles=[rgb, nir, tir]", "train_images=4", "eval_images=4")


@pytest.fixture
def msvr310(lab):
    """Moments in two scenes, which the authors number from 1; nobody of train is seen in any other."""
    folder = lab.folder / "msvr310"
    world = [line.replace(": ", "=", 1) for line in WORLD.splitlines() if not line.startswith(("roles", "preset"))]
    sets = [word for line in (*world, *SPECTRAL) for word in ("--set", line)]
    made = lab.call("data", "make", "msvr310", str(folder), *sets)
    assert made.code == 0, made.err
    val = "{identities: 0.2, seed: 0}"
    return f"data={{name: msvr310, root: {folder}, image_size: [32, 16], val: {val}}}"


@pytest.mark.parametrize(
    ("model", "table", "of"),
    [
        ("{name: clip_window, backbone: CLIP, windows: null, sie: {of: view}}", "sie", "view"),
        ("{name: hybrid, clip: {backbone: CLIP, sie: {of: both}}, vit: null}", "clip.sie", "both"),
        ("{name: vit_multiscale, windows: null, sie: {of: view}}", "vit.sie", "view"),
    ],
)
def test_each_view_that_is_seen_learns_its_vector(lab, msvr310, model, table, of):
    """Scene 0, which there is not, stays at its first weights to the last bit."""
    given = (msvr310, f"model={model.replace('CLIP', str(lab.clip))}", *VISUAL)
    done = lab.run(*given, "train.optimizer={weight_decay: 0.0}", "eval.select_on=last")
    assert done.code == 0, done.err
    facts = json.loads((lab.only.path / "identity.json").read_text())["facts"]
    assert facts["labels"] == {"scenes": 3}
    learned = load(lab.only.selected).under(MODEL)[f"{table}.embedding"]
    first = side_information(SideSpec(of=of), learned.shape[1], facts["cameras"], 3, 0).embedding
    assert len(learned) == len(first) == (3 if of == "view" else 3 * facts["cameras"])
    moved = (learned != first).any(dim=1)
    assert not moved[::3].any()
    assert moved[1::3].any()
    assert moved[2::3].any()
    again = lab.evaluate(lab.only)
    assert again.code == 0, again.err


def test_triples_are_aggregated_in_an_ordinary_run(lab):
    """The same losses from batches of one part and of two; what was trained is evaluated again."""
    model = f"{{name: clip_window, backbone: {lab.clip}, roles: [rgb, nir, tir], windows: {{scales: [4]}}}}"
    given = ("data.roles=[rgb, nir, tir]", f"model={model}", "model.aggregator={layers: 1, gate: as_published}")
    given += (VISUAL[0], "eval.protocol=multispectral", "train.optimizer.lr=1.0e-3")
    found = []
    for parts in (1, 2):
        done = lab.run(*given, f"train.accumulate={parts}", f"name=parts{parts}")
        assert done.code == 0, done.err
        run = next(run for run in lab.folders() if run.run_id not in [known.run_id for known, _ in found])
        found.append((run, losses(run)))
    (whole, one), (_, two) = found
    assert ("loss/id", 1) in one
    assert one.keys() == two.keys()
    assert all(two[key] == pytest.approx(value, rel=1e-3) for key, value in one.items())
    again = lab.evaluate(whole)
    assert again.code == 0, again.err
    assert f"{whole.summary()['test']['mAP']:.2f}" in "\n".join(again.out)

"""Figures of a tiny run by the command: what is written, what is looked at, what is refused."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from reid_lab.engine.evaluate import embed
from reid_lab.looking import opened as room
from reid_lab.looking.sheets import choose
from reid_lab.tracking import looks
from reid_lab.tracking.runs import find
from tests.lab import Lab, records

SHORT = ("train.length={steps: 2}", "train.batch.size=8", "eval.select_on=last")


@pytest.fixture(scope="module")
def trained(tmp_path_factory, tiny_clip, world_cache):
    """A tiny run of IRRA, and one of a model that reads images alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REID_LAB_CACHE", str(world_cache))
        lab = Lab(tmp_path_factory.mktemp("looked"), tiny_clip, world_cache)
        done = lab.run(*SHORT)
        assert done.code == 0, done.err
        (run,) = lab.folders()
        images = f"model={{name: clip_window, backbone: '{tiny_clip}'}}"
        done = lab.run(*SHORT, images, "eval.protocol=image_to_image", "name=images", "eval.removed=moment")
        assert done.code == 0, done.err
        (other,) = (folder for folder in lab.folders() if folder.run_id != run.run_id)
        return lab, run, other


@pytest.fixture
def draw(trained, tmp_path, monkeypatch):
    """`reid-lab figure KIND RUN --with …` into an empty folder; without a run, IRRA's."""
    lab, run, _ = trained
    monkeypatch.setenv("REID_LAB_CACHE", str(lab.cache))

    def call(kind, *options, runs=(run.run_id,)):
        given = [word for option in options for word in ("--with", option)]
        place = ["--out", str(tmp_path / "figures"), "--runs", str(lab.runs), "--no-log"]
        return lab.call("figure", kind, *runs, *given, *place)

    return call


def rows_of(folder, kind):
    lines = (folder / "figures" / f"{kind}.csv").read_text().splitlines()
    return list(csv.DictReader(line for line in lines if not line.startswith("#")))


@pytest.fixture
def model(trained, monkeypatch):
    """The run's model over val."""
    monkeypatch.setenv("REID_LAB_CACHE", str(trained[0].cache))
    return room.opened(trained[1])


@pytest.mark.parametrize(
    ("facts", "on_val", "on_test"),
    [
        ({}, [], []),
        ({"fitted_on": "train+val"}, ["fitted on train+val"], []),
        ({"selected_on": "test"}, [], ["selected on TEST"]),
    ],
)
def test_a_caption_tells_what_the_weights_have_seen(trained, monkeypatch, facts, on_val, on_test):
    lab, run, _ = trained
    monkeypatch.setenv("REID_LAB_CACHE", str(lab.cache))
    whole = {**run.summary(), "selected_on": "val", **facts}
    monkeypatch.setattr(type(run), "summary", lambda _: whole)
    for part, wanted in (("val", on_val), ("test", on_test)):
        assert room.opened(run, part).notes == [f"{run.run_id}: {one}." for one in wanted]


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("map", ("identities=4", "perplexity=3")),
        ("similarity", ("bins=10",)),
        ("attention", ("images=2",)),
        ("words", ("captions=1",)),
        ("sheet", ("each=1", "top=3")),
    ],
)
def test_every_kind_is_written_and_looks_at_val_alone(trained, draw, tmp_path, kind, options):
    journal = trained[1].journal
    before = journal.read_bytes()
    done = draw(kind, *options)
    assert done.code == 0, done.err
    assert (tmp_path / "figures" / f"{kind}.pdf").read_bytes()[:5] == b"%PDF-"
    with Image.open(tmp_path / "figures" / f"{kind}.png") as picture:
        assert max(picture.size) > 900  # 200 dots an inch
    assert {row["part"] for row in rows_of(tmp_path, kind)} == {"val"}
    assert {row["run"] for row in rows_of(tmp_path, kind)} == {trained[1].run_id}
    assert journal.read_bytes() == before
    checked = trained[0].call("verify", str(tmp_path / "figures" / f"{kind}.csv"), "--runs", str(trained[0].runs))
    assert checked.code == 0, checked.err


def test_the_same_run_gives_the_same_bytes(draw, tmp_path):
    made = []
    for _ in range(2):  # the second one from kept embeddings
        assert draw("map", "identities=4", "perplexity=3").code == 0
        made.append([(tmp_path / "figures" / f"map{ending}").read_bytes() for ending in (".png", ".pdf")])
    assert made[0] == made[1]


def test_a_look_at_test_is_recorded(trained, draw, tmp_path):
    _, run, _ = trained
    before = len([record for record in records(run, "note") if record.name == "look_at_test"])
    assert draw("similarity", "part=test", "bins=5").code == 0
    looks = [record.value for record in records(run, "note") if record.name == "look_at_test"]
    assert len(looks) == before + 1
    assert looks[-1]["figure"] == "similarity"
    assert {row["part"] for row in rows_of(tmp_path, "similarity")} == {"test"}


def test_a_look_that_cannot_be_recorded_is_none(draw, tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(looks, "RunLock", refuse)
    done = draw("sheet", "part=test")
    assert done.code == 2
    (line,) = done.complaints
    assert "a look at test is recorded, and its journal cannot be written (Permission denied)" in line
    assert not (tmp_path / "figures").exists()


def test_data_other_than_those_of_the_training_are_told(trained, draw, tmp_path):
    file = trained[1].path / "identity.json"
    text = file.read_text()
    try:
        file.write_text(json.dumps({**json.loads(text), "data": "0123456789abcdef"}))
        assert draw("similarity").code == 0
    finally:
        file.write_text(text)
    told = (tmp_path / "figures" / "similarity.csv").read_text()
    assert "was trained on other data than these (0123456789ab, not " in told


def test_kept_embeddings_are_those_of_their_part(trained, monkeypatch):
    """Val and test have as many items: neither may find the other's embeddings."""
    monkeypatch.setenv("REID_LAB_CACHE", str(trained[0].cache))
    for part in ("val", "test", "val"):
        model = room.opened(trained[1], part)
        assert set(model.parts.source.dataset.items.split) == {part}
        task = room.task_of(model)
        for side in (task.queries, task.gallery):
            np.testing.assert_array_equal(model.embed(side).numpy(), model.parts.embed(side).numpy())


def test_the_map_shows_the_people_asked_for(draw, tmp_path, model):
    task = room.task_of(model)
    pids = sorted(set(task.queries.pids.tolist()))[:3]
    assert draw("map", f"people={','.join(map(str, pids))}", "perplexity=2").code == 0
    rows = rows_of(tmp_path, "map")
    assert {int(row["pid"]) for row in rows} == set(pids)
    assert {row["modality"] for row in rows} == {"rgb", "caption"}
    count = sum(int(np.isin(side.pids, pids).sum()) for side in (task.queries, task.gallery))
    assert len(rows) == 2 * count  # two methods


def test_attention_is_that_of_the_model_and_sums_to_at_most_one(draw, tmp_path, model):
    assert draw("attention", "images=3").code == 0
    shares = {}
    for row in rows_of(tmp_path, "attention"):
        shares.setdefault((row["what"], row["pid"]), []).append(float(row["weight"]))
    assert {what for what, _ in shares} == {"last block", "rollout"}
    assert all(len(weights) == 8 and 0 < sum(weights) < 1 for weights in shares.values())


def test_sheets_rank_as_the_embeddings_do(draw, tmp_path, model):
    assert draw("sheet", "each=1", "top=4").code == 0
    task = room.task_of(model)
    scores = (model.parts.embed(task.queries) @ model.parts.embed(task.gallery).T).numpy()
    rows = rows_of(tmp_path, "sheet")
    assert [row["kind"] for row in rows[::4]] == ["best", "worst", "random"]
    assert float(rows[0]["ap"]) >= float(rows[8]["ap"]) >= float(rows[4]["ap"])
    for start in (0, 4, 8):
        found = [float(row["score"]) for row in rows[start : start + 4]]
        assert any(np.allclose(np.sort(line)[::-1][:4], found, atol=1e-5) for line in scores)


def test_best_and_worst_are_those_of_valid_queries():
    ap, valid = np.array([0.5, 0.9, 0.1, 0.0, 0.9]), np.array([True, True, True, False, True])
    found = choose(ap, valid, 2, 0)
    assert [one.query for one in found[:4]] == [1, 4, 2, 0]
    assert [one.kind for one in found] == ["best", "best", "worst", "worst", "random", "random"]
    assert 3 not in [one.query for one in found]


def test_words_are_those_of_a_caption_of_the_person(draw, tmp_path, model):
    assert draw("words", "captions=1").code == 0
    rows = rows_of(tmp_path, "words")
    items = model.parts.source.dataset.items
    (caption,) = {row["caption"] for row in rows}
    assert int(rows[0]["pid"]) in items.pid[items.caption == caption]
    places = {int(row["place"]): row["word"] for row in rows}
    assert [places[k] for k in sorted(places)] == caption.split()[: len(places)]
    shown = np.array([float(row["shown"]) for row in rows]).reshape(len(places), -1)
    np.testing.assert_allclose(shown.mean(axis=0), 0, atol=1e-9)


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        ("map", ("people=99999",), "no identity 99999 in val of synthetic; it has 6: "),
        ("map", ("people=a",), "--with people=a: numbers of identities, with commas, are needed"),
        ("map", ("perplexity=500",), "--with perplexity=500: with "),
        ("map", ("seed=x",), "--with seed=x: a whole number from 0 is needed"),
        ("similarity", ("part=train",), "unknown part 'train'; allowed: test, val"),
        ("similarity", ("task=zebra",), "unknown task 'zebra'; allowed: text_to_image"),
        ("attention", ("role=nir",), "irra reads no nir images (it reads rgb)"),
        ("attention", ("role=sketsh",), "unknown modality 'sketsh'"),
        ("sheet", ("zebra=1",), "unknown option 'zebra'"),
    ],
)
def test_what_is_asked_for_and_not_there_is_one_line(draw, kind, options, told):
    done = draw(kind, *options)
    assert done.code == 2
    (line,) = done.complaints
    assert told in line


def test_words_of_a_model_of_images_are_refused(trained, draw):
    other = trained[2]
    done = draw("words", runs=(other.run_id,))
    assert done.code == 2
    (line,) = done.complaints
    assert "clip_window reads no text (it reads rgb)" in line
    assert draw("attention", "images=2", runs=(other.run_id,)).code == 0


def test_several_runs_where_one_is_shown(trained, draw):
    _, run, other = trained
    done = draw("sheet", runs=(run.run_id, other.run_id))
    assert done.code == 2
    (line,) = done.complaints
    assert "sheet shows one run; the selection gives 2: " in line
    assert draw("similarity", runs=(run.run_id, other.run_id)).code == 0


def test_a_run_without_weights_is_refused(trained, draw):
    _, run, _ = trained
    file = run.path / "summary.json"
    text = file.read_text()
    try:
        file.write_text(json.dumps({**json.loads(text), "weights": "dropped by gc"}))
        done = draw("map")
    finally:
        file.write_text(text)
    assert done.code == 2
    (line,) = done.complaints
    assert "has no weights to use (dropped by gc)" in line
    away = run.selected.with_suffix(".away")
    run.selected.rename(away)
    try:
        done = draw("attention")
    finally:
        away.rename(run.selected)
    assert done.code == 2
    assert len(done.complaints) == 1


def test_capturing_leaves_embeddings_as_they_are(model):
    """What a figure of attention passes through the model is what is embedded."""
    from reid_lab.looking import attention

    groups = room.items_of(model, "rgb").take(np.arange(3))
    (trunk,) = attention.image_trunks(model.parts.model, "rgb")
    plain = model.parts.embed(groups)
    with attention.recorded(trunk.blocks) as kept:
        batch = model.parts.loader.batch(groups, np.arange(3))
        seen = embed(model.parts.model, [batch], model.parts.prepare, model.parts.runtime)
    assert np.array_equal(plain.numpy(), seen.numpy())
    assert len(kept) == 2
    assert find(model.folder.path.parent, model.folder.run_id).run_id == model.folder.run_id

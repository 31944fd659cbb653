"""Bad input of the text and omni-modal architectures, through the command line: a line each, and nothing is begun."""

from __future__ import annotations

import json

import pytest

RANK = "a rank of 0 adapts nothing; allowed: 1 and above, or null for no adapters"
TARGET = "unknown adapter target 'fc3'; allowed: fc1, fc2, k, out, q, v; did you mean 'fc2'?"
T2IREID = ("model={name: t2ireid}", "eval.queries=[id_caption, cloth_caption]")
PARTS = "data.roles=[rgb, id_caption, cloth_caption]"


@pytest.fixture
def told(lab):
    """The lines that `reid-lab run` with these overrides complains in; CLIP stands for the small trunk."""

    def call(*sets):
        done = lab.run(*(text.replace("CLIP", str(lab.clip)) for text in sets))
        assert (done.code, done.out) == (2, [])
        assert done.err == done.complaints
        assert not list(lab.runs.glob("*/spec.yaml"))
        return [line.removeprefix("reid-lab: ") for line in done.complaints]

    return call


@pytest.mark.parametrize(("name", "slot"), [("clip_mer", "mer"), ("reid5o", "lora")])
def test_adapters_that_cannot_be(told, name, slot):
    model = f"model={{name: {name}, backbone: CLIP}}"
    rank, target = told(model, f"model.{slot}.rank=0", f"model.{slot}.targets=[q, fc3]")
    assert rank.endswith(f": model.{slot}.rank: {RANK}")
    assert target.endswith(f": model.{slot}.targets: {TARGET}")


def test_adapters_of_an_architecture_that_has_none(told):
    (line,) = told(*T2IREID, "model.lora={rank: 0}")
    assert ": model.lora: no such key (allowed: name, backbone, " in line


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        (
            ("model={name: clip_mer, backbone: CLIP, modalities: [rgb, sketch, caption]}",),
            "clip_mer reads rgb, sketch, caption; synthetic has no sketch (it has rgb, caption)",
        ),
        (
            ("model={name: reid5o, backbone: CLIP, queries: [nir, tir, caption]}",),
            "reid5o reads rgb, nir, tir, caption; synthetic has no nir, tir (it has rgb, caption)",
        ),
        (
            (*T2IREID, "model.cloth=null", "eval.queries=[id_caption]"),
            "t2ireid reads rgb, id_caption, cloth_caption; synthetic has no id_caption, cloth_caption "
            "(it has rgb, caption)",
        ),
    ],
)
def test_a_modality_that_the_data_does_not_have(told, sets, expected):
    assert told(*sets) == [expected]


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        (
            ("model={name: clip_mer, backbone: CLIP, modalities: [rgb, nir]}",),
            "eval.protocol: text_to_image needs caption, which clip_mer does not read (it reads rgb, nir; ",
        ),
        (
            ("model={name: reid5o, backbone: CLIP, queries: [nir]}",),
            "eval.protocol: text_to_image needs caption, which reid5o does not read (it reads rgb, nir; ",
        ),
        (
            (*T2IREID, PARTS.replace("]", ", caption]"), "eval.queries=[caption]"),
            "eval.protocol: text_to_image needs caption, which t2ireid does not read (it reads rgb, id_caption, ",
        ),
    ],
)
def test_queries_of_which_a_model_reads_nothing(told, sets, expected):
    (line,) = told("data.roles=[rgb, nir, caption]", *sets)
    assert line.startswith(expected)


@pytest.fixture
def folder(lab):
    """Data of a folder whose side file has no clothes parts."""
    written = lab.written("jpeg")
    made = lab.call("data", "split-captions", "cuhk_pedes", str(written))
    assert made.code == 0
    rows = json.loads((written / "parts.json").read_text())
    assert all(row.pop("cloth_caption") for row in rows)
    (written / "parts.json").write_text(json.dumps(rows))
    return f"data={{name: cuhk_pedes, root: {written}, parts: {written / 'parts.json'}, image_size: [32, 16]}}"


def test_a_side_file_without_clothes_parts(told, folder):
    (line,) = told(folder, *T2IREID)
    assert line.startswith("model.cloth.labels 'auto': the data offers no such labels; ")
    (line,) = told(folder, *T2IREID, "model.cloth=null")
    has = "cuhk_pedes has no cloth_caption (it has rgb, caption, id_caption)"
    assert line == f"t2ireid reads rgb, id_caption, cloth_caption; {has}"
    model = "model={name: clip_mer, backbone: CLIP, modalities: [rgb, id_caption, cloth_caption]}"
    (line,) = told(folder, model, "eval.queries=[id_caption, cloth_caption]")
    assert line == f"clip_mer reads rgb, id_caption, cloth_caption; {has}"
    (line,) = told(folder, "model={name: reid5o, backbone: CLIP, queries: [cloth_caption]}")
    assert ": model.queries: unknown query modality 'cloth_caption'; allowed: caption, " in line

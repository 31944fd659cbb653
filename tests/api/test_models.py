"""`rl.load`: embeddings of what is given are those of the test, and wrong inputs are told."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import reid_lab as rl
from reid_lab import experiment
from reid_lab.assembly import open_source
from reid_lab.catalogue import load_spec


@pytest.fixture
def trained(lab):
    result = rl.run(lab.file, quiet=True, **{"train.length.epochs": 1})
    return lab, rl.load(result)


def test_embeddings_are_those_of_the_test(trained, tmp_path):
    lab, model = trained
    seen = {}

    def kept(parts, found, queries, gallery):
        seen.update(queries=queries.numpy(), gallery=gallery.numpy(), task=found.task)

    experiment.evaluate_run(model.run, lab.runs, console=Console(quiet=True), seen=kept)
    dataset = open_source(load_spec(lab.file).spec.data).dataset
    captions = [dataset.items.caption[k] for k in seen["task"].queries.members["caption"]]
    numbers = seen["task"].gallery.members["rgb"]
    pixels = dataset.images(numbers, None).transpose(0, 2, 3, 1)
    found = model.embed(captions=captions)
    assert (found.dtype, found.shape) == (np.float32, seen["queries"].shape)
    np.testing.assert_allclose(found, seen["queries"], atol=1e-6)
    np.testing.assert_allclose(model.embed(images=pixels), seen["gallery"], atol=1e-6)
    file = tmp_path / "one.png"
    Image.fromarray(pixels[0]).save(file)
    for one in (file, str(file), Image.open(file), pixels[0], [pixels[0]]):
        np.testing.assert_allclose(model.embed(rgb=one), seen["gallery"][:1], atol=1e-6)
    both = model.embed(RGB=[pixels[0], None, pixels[0]], text=[captions[0], captions[0], None])
    np.testing.assert_allclose(both[1:], [seen["queries"][0], seen["gallery"][0]], atol=1e-6)
    middle = seen["queries"][0] + seen["gallery"][0]
    np.testing.assert_allclose(both[0], middle / np.linalg.norm(middle), atol=1e-6)

    items = model.items("test")
    assert items.caption.dropna().tolist() == captions
    answer = model.search(captions[0], top=3)
    order = np.argsort(-(seen["queries"][0] @ seen["gallery"].T), kind="stable")[:3]
    assert answer.pid.tolist() == seen["task"].gallery.pids[order].tolist()
    assert answer["rank"].tolist() == [1, 2, 3]
    assert set(answer.correct) <= {True, False}

    assert (model.architecture, model.roles, model.run) == ("irra", ("rgb", "caption"), lab.only.run_id)
    assert "reads rgb, caption" in repr(model)
    assert not any(p.requires_grad and p.grad is not None for p in model.module.parameters())

    for wrong, told in (
        ({}, "nothing to embed"),
        ({"captions": []}, "nothing to embed"),
        ({"captions": ["a"], "caption": ["b"]}, "two of these name the same role"),
        ({"captions": ["a"], "images": [None, None]}, "lists of different lengths: 1 caption, 2 rgb"),
        ({"captions": ["a", None]}, "group 1 has no item at all"),
        ({"captions": [" "]}, "caption 0: expected words, got ' '"),
        ({"captions": 3}, "expected an item or a list of items, got int"),
        ({"sketch": ["a.png"]}, "sketch: irra reads rgb, caption"),
        ({"imagse": ["a.png"]}, "unknown modality 'imagse'"),
        ({"images": ["a.png", lab.file]}, "a.png: the image cannot be read(?s:.*)tiny.yaml: the image cannot be read"),
        ({"images": np.zeros((2, 2, 4), np.uint8)}, r"got \(2, 2, 4\) uint8"),
        ({"images": np.zeros((2, 2, 3))}, "float64"),
    ):
        with pytest.raises(rl.UserError, match=told):
            model.embed(**wrong)

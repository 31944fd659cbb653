"""What the tests of imports share: an imported run's model again, and what its evaluation embeds."""

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console

from reid_lab import experiment
from reid_lab.assembly import architecture
from reid_lab.catalogue import load_spec
from reid_lab.contracts import Batch, Facts, Input
from reid_lab.engine.checkpoint import load_weights
from reid_lab.tracking.runs import find
from tests.lab import WORLD

GOLDEN = Path(__file__).parent / "golden"


def read_golden():
    """The module that reads golden values."""
    spec = importlib.util.spec_from_file_location("golden", GOLDEN / "golden.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tensors(arrays):
    """Arrays by name as tensors."""
    return {name: torch.from_numpy(np.asarray(value)) for name, value in arrays.items()}


def normalised(value):
    """Rows of length 1."""
    return torch.nn.functional.normalize(value, dim=1)


def facts_of(folder):
    """What an imported run knows of the data that its weights were trained on."""
    facts = json.loads((Path(folder) / "identity.json").read_text())["facts"]
    return Facts(**{**facts, "image_size": tuple(facts["image_size"]), "roles": tuple(facts["roles"])})


def rebuilt(folder):
    """The model of an imported run with its weights, as `evaluate` and `search` build it."""
    run = find(Path("nowhere"), str(folder))
    spec = load_spec(run.path / "spec.yaml").spec
    model = architecture(spec).build(spec.model, facts_of(folder), spec.seed)
    load_weights(run.selected, model)
    return model.eval()


def batch(labels=None, **inputs):
    """Groups with one item of each of these roles."""
    rows = torch.arange(len(next(iter(inputs.values()))))
    groups = {"pids": rows, "keys": rows, **(labels or {})}
    return Batch(groups, {role: Input(v, rows) for role, v in inputs.items()})


def disturbed(model, seed=0):
    """The model with every weight moved a little, so that none is what it began as; in evaluation mode."""
    with torch.no_grad():
        for i, value in enumerate(model.state_dict().values()):
            if value.is_floating_point():
                value += 0.05 * torch.rand(value.shape, generator=torch.Generator().manual_seed(100 * seed + i))
    return model.eval()


def world(lab, roles, protocol, model):
    """An experiment file over the embedded world of 36 people with these roles."""
    data = WORLD.replace("roles: [rgb, caption]", f"roles: [{', '.join(roles)}]")
    text = "name: world\ndata:\n  name: synthetic\n" + "".join(f"  {line}\n" for line in data.splitlines())
    text += f"model:\n  {model}\neval: {{protocol: {protocol}, batch: 16}}\nruntime: {{threads: 1, device: cpu}}\n"
    file = lab.folder / f"{protocol}.yaml"
    file.write_text(text + 'tracking: {uri: "off"}\n')
    return file


def searched(lab, run, *roles):
    """Searches a folder of three images with an imported run, by the second of them in each of these roles."""
    folder = lab.folder / "photographs"
    folder.mkdir(exist_ok=True)
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (32, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    query = [word for role in roles for word in ("--image", f"{role}={folder / '1.png'}")]
    done = lab.call("search", run, *query, "--gallery", f"{roles[0]}={folder}")
    assert done.code == 0, done.err
    first = next(line for line in done.out if line.split()[:1] == ["1"])
    assert "1.png" in first


def evaluated(lab, run, original=None):
    """Evaluates an imported run; compares all embeddings with those of `original` over the same items. The metrics."""
    told = []

    def seen(parts, found, queries, gallery):
        told.append(len(queries))
        if original is None:
            return
        other = replace(parts, model=original.eval())
        for groups, values in ((found.task.queries, queries), (found.task.gallery, gallery)):
            torch.testing.assert_close(values, other.embed(groups), rtol=1e-5, atol=1e-6)

    metrics = experiment.evaluate_run(str(run), lab.runs, console=Console(quiet=True), seen=seen)
    assert told
    return metrics

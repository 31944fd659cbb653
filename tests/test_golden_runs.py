"""A tiny run of every architecture, held to recorded losses.

`python -m tests.test_golden_runs` records them anew, after the RESULT_VERSION that a change of
numbers asks for was raised.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
from pathlib import Path

import pytest
import torch

from reid_lab.architectures import ARCHITECTURES
from reid_lab.data.loader import RESULT_VERSION as DATA_VERSION
from reid_lab.data.synthetic import GENERATOR_VERSION
from reid_lab.engine.plan import RESULT_VERSION as ENGINE_VERSION
from reid_lab.metrics.retrieval import METRICS_VERSION
from reid_lab.tracking.provenance import processor
from tests.lab import Lab, losses, write_clip

FILE = Path(__file__).parent / "golden" / "runs.json"
OMNI = ("data.roles=[rgb, nir, sketch, cpencil, caption]", "eval.protocol=cross_modal")
VISUAL = ("train.batch={sampler: identity, size: 16, instances: 2}", "eval.protocol=image_to_image")
SETTINGS = {  # every term of the architecture; CLIP stands for the small trunk of the tests
    "irra": ("model.itc=0.5", "model.cmpm=0.5"),
    "clip_mer": ("model={name: clip_mer, backbone: CLIP, penalty: 0.1, fusion_dim: 32}", *OMNI),
    "reid5o": ("model={name: reid5o, backbone: CLIP}", *OMNI),
    "t2ireid": (
        "model={name: t2ireid}",
        "data.roles=[rgb, id_caption, cloth_caption]",
        "train.pairs=redrawn",
        "eval.queries=[id_caption, cloth_caption]",
    ),
    "clip_window": ("model={name: clip_window, backbone: CLIP}", *VISUAL),
    "vit_multiscale": ("model={name: vit_multiscale}", *VISUAL),
    "hybrid": ("model={name: hybrid, clip: {backbone: CLIP}}", *VISUAL),
}
# Relative, between CPUs: T2IReID's biases in front of BatchNorm have gradients of rounding noise, which Adam enlarges.
SLACK = {"t2ireid": 1e-3}


def versions(architecture: str) -> dict[str, int]:
    """Everything that is raised by hand when a run gives other bits, by where it stands."""
    module = ARCHITECTURES[architecture].module
    return {
        module.replace(".", "/") + ".py": importlib.import_module(module).RESULT_VERSION,
        "reid_lab/engine/plan.py": ENGINE_VERSION,
        "reid_lab/data/loader.py": DATA_VERSION,
        "reid_lab/data/synthetic/spec.py (GENERATOR_VERSION)": GENERATOR_VERSION,
        "reid_lab/metrics/retrieval.py (METRICS_VERSION)": METRICS_VERSION,
    }


def found(lab: Lab, architecture: str) -> dict[str, object]:
    """What the run gives now."""
    done = lab.run(*(text.replace("CLIP", str(lab.clip)) for text in SETTINGS[architecture]))
    assert done.code == 0, done.err
    summary = lab.only.summary()
    return {
        "losses": {f"{name}@{step}": value for (name, step), value in sorted(losses(lab.only).items())},
        "weights_sha256": summary["weights_sha256"],
        "test": summary["test"],
    }


def test_every_architecture_has_a_golden_run():
    assert ARCHITECTURES.keys() == SETTINGS.keys() == json.loads(FILE.read_text())["runs"].keys()


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_a_change_of_numbers_raises_a_version(lab, architecture):
    golden = json.loads(FILE.read_text())
    held = golden["runs"][architecture]
    now = versions(architecture)
    assert held["versions"] == now, "a version was raised: record anew with `python -m tests.test_golden_runs`"
    run = found(lab, architecture)
    advice = (
        f"the golden run of {architecture} gives other numbers than recorded; if that is meant, raise the "
        f"RESULT_VERSION of the room that changed ({', '.join(now)}) and run `python -m tests.test_golden_runs`"
    )
    assert run["losses"].keys() == held["losses"].keys(), advice
    for name, value in held["losses"].items():
        assert run["losses"][name] == pytest.approx(value, rel=SLACK.get(architecture, 1e-4)), f"{name}: {advice}"
    if golden["machine"] == machine():
        assert run == {name: held[name] for name in run}, advice


def machine() -> dict[str, str]:
    """What bits depend on beside the code: they are compared only where this is as recorded."""
    capability = torch.backends.cpu.get_cpu_capability()
    return {"cpu": f"{processor()}, {_model()}, {capability}", "torch": torch.__version__}


def _model() -> str:
    """Family and model of the CPU: its name alone can stand for several generations."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    facts = dict(reversed([line.split(":", 1) for line in lines if line.startswith(("cpu family", "model\t"))]))
    return ", ".join(f"{name.strip()} {value.strip()}" for name, value in sorted(facts.items())) or "unknown"


def record() -> None:
    """Writes the file anew."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["REID_LAB_CACHE"] = str(folder / "worlds")
        clip = write_clip(folder / "clip")
        runs = {}
        for architecture in sorted(ARCHITECTURES):
            place = folder / architecture
            place.mkdir()
            lab = Lab(place, clip, folder / "worlds")
            runs[architecture] = {"versions": versions(architecture), **found(lab, architecture)}
    FILE.write_text(json.dumps({"machine": machine(), "runs": runs}, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    sys.exit(record())

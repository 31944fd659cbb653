"""`reid-lab replay`: the same run again, and each of its inputs named when it is not what it was."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file, save_file

from reid_lab import assembly, experiment
from reid_lab.catalogue import load_spec
from reid_lab.data import contents
from reid_lab.data.synthetic import spec as synthetic
from reid_lab.errors import Pruned
from reid_lab.reproducing import code, records
from reid_lab.reproducing.differences import Findings
from reid_lab.tracking import provenance
from reid_lab.tracking.records import encode, packed
from reid_lab.tracking.runs import RunFolder, folders
from tests.lab import ROOT, Lab
from tests.lab import records as recorded
from tests.test_experiment import tree

SHORT = ("train.length.epochs=1",)


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_clip, world_cache):
    """A laboratory with one finished run; its folder is copied, never changed."""
    lab = Lab(tmp_path_factory.mktemp("made"), tiny_clip, world_cache)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("REID_LAB_CACHE", str(world_cache))
        assert lab.run(*SHORT).code == 0
    return lab


@pytest.fixture
def lab(lab, made):
    """A laboratory with a copy of that run."""
    shutil.copytree(made.runs, lab.runs)
    return lab


def again(lab, *options, run=None):
    return lab.call("replay", run or lab.only.run_id, *options, "--runs", str(lab.runs))


def differences(lab):
    """What a replay names before it computes anything; it computes nothing then."""
    done = again(lab)
    assert done.code == 1, done.out
    told = [line.removeprefix("differs  ") for line in done.out if line.startswith("differs  ")]
    count = "1 input differs" if len(told) == 1 else f"{len(told)} inputs differ"
    hint = "--anyway computes it nevertheless"
    assert done.out[-1] == f"{lab.only.run_id}: {count}; nothing was computed ({hint})"
    return told


def edited(file: Path, old: str, new: str):
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_an_untouched_run_is_the_same_bit_for_bit(lab):
    before = tree(lab.runs)
    done = again(lab)
    assert (done.code, done.complaints) == (0, [])
    assert done.out[-1].startswith(f"{lab.only.run_id}: the same results, bit for bit (")
    kinds = {part.split()[1]: int(part.split()[0]) for part in done.out[-1].partition("(")[2].rstrip(")").split(", ")}
    assert kinds["loss"] == len(recorded(lab.only, "loss"))
    assert {"val", "test", "final", "checkpoint", "lr"} <= kinds.keys()
    assert tree(lab.runs) == before


# planted differences, each named before anything is computed


def test_a_changed_value_of_the_spec(lab):
    edited(lab.only.path / "spec.yaml", "lr: 0.0001", "lr: 0.0002")
    assert differences(lab) == ["spec: train.optimizer.lr: recorded 0.0001, now 0.0002"]


def test_another_seed(lab):
    edited(lab.only.path / "spec.yaml", "\nseed: 0", "\nseed: 7")
    assert differences(lab) == ["seed: seed: recorded 0, now 7"]


def test_a_field_that_decides_no_identity(lab):
    edited(lab.only.path / "spec.yaml", "log_every: 1", "log_every: 2")
    (told,) = differences(lab)
    assert told == "spec: spec.yaml was edited after the run began, in fields that take no part in its identity"


def test_all_that_differs_is_told_at_once(lab, monkeypatch):
    edited(lab.only.path / "spec.yaml", "\nseed: 0", "\nseed: 7")
    edited(lab.only.path / "spec.yaml", "threads: 1", "threads: 2")
    monkeypatch.setattr(assembly, "METRICS_VERSION", 99)
    told = differences(lab)
    assert {line.partition(":")[0] for line in told} == {"seed", "spec", "version", "machine"}


def test_more_threads(lab):
    edited(lab.only.path / "spec.yaml", "threads: 1", "threads: 2")
    told = differences(lab)
    assert told == ["spec: runtime.threads: recorded 1, now 2", "machine: threads: recorded 1, now 2"]


def test_threads_are_taken_from_the_record(lab, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    torch.set_num_threads(2)
    try:
        assert again(lab).code == 0
    finally:
        torch.set_num_threads(1)


def test_another_preset_of_the_world(lab, monkeypatch):
    preset = synthetic.PRESETS["smoke"]
    monkeypatch.setitem(synthetic.PRESETS, "smoke", type(preset)(**{**vars(preset), "hard": 0.3}))
    told = differences(lab)
    assert "data: world.hard: recorded 0.2, now 0.3" in told
    assert all(line.startswith("data: ") for line in told)


def test_another_version_of_the_drawing(lab, monkeypatch):
    monkeypatch.setattr(synthetic, "GENERATOR_VERSION", 99)
    (told,) = (line for line in differences(lab) if "digest" in line)
    assert told.startswith("data: digest: recorded ")


def test_a_pixel_of_a_drawn_world(lab, tmp_path, monkeypatch):
    cache = tmp_path / "worlds"
    shutil.copytree(lab.cache, cache)
    monkeypatch.setenv("REID_LAB_CACHE", str(cache))
    for shard in cache.rglob("train-rgb.npy"):
        with shard.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            last = file.read(1)
            file.seek(-1, os.SEEK_END)
            file.write(bytes([last[0] ^ 1]))
    (told,) = differences(lab)
    assert told.startswith("data: pixels of rgb in train: recorded ")


def test_another_version_of_a_dependency(lab, monkeypatch):
    version = provenance._version
    monkeypatch.setattr(provenance, "_version", lambda name: "9.9.9" if name == "numpy" else version(name))
    (told,) = differences(lab)
    assert told == f"dependency: numpy: recorded {version('numpy')}, now 9.9.9"


def test_a_dependency_that_computes_nothing_is_a_note(lab, monkeypatch):
    version = provenance._version
    monkeypatch.setattr(provenance, "_version", lambda name: "9.9.9" if name == "mlflow" else version(name))
    done = again(lab)
    assert done.code == 0
    assert f"note     mlflow was {version('mlflow')} and is 9.9.9, which computes nothing" in done.out


def test_a_changed_module(lab):
    file = lab.only.path / "inputs.json"
    held = json.loads(file.read_text())
    held["code"] |= {"reid_lab/engine/step.py": "0" * 64, "reid_lab/report/latex.py": "1" * 64}
    file.write_text(json.dumps(held))
    assert differences(lab) == ["code: reid_lab/engine/step.py differs (git does not know the recorded lines)"]
    assert "note     code that this run does not import differs: reid_lab/report/latex.py" in again(lab).out


def test_another_version_of_the_metrics(lab, monkeypatch):
    monkeypatch.setattr(assembly, "METRICS_VERSION", 99)
    (told,) = differences(lab)
    assert told.startswith("version: metrics version: recorded ")
    assert told.endswith(", now 99")


def test_another_machine(lab, monkeypatch):
    monkeypatch.setattr(provenance, "processor", lambda: "Abacus 2")
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    told = differences(lab)
    assert told[0].startswith("machine: cpu: recorded ")
    assert told[1] == 'machine: settings: recorded {}, now {"MKL_CBWR":"COMPATIBLE"}'


def test_a_gpu_that_is_not_there(lab):
    edited(lab.only.path / "environment.json", '"device": "cpu"', '"device": "cuda:7"')
    done = again(lab, "--anyway")
    assert done.code == 1
    assert any("machine: device 'cuda:7' is not there" in line for line in done.out)
    assert done.out[-1].endswith("nothing was computed (it cannot be computed)")


def test_a_result_that_was_changed_by_hand(lab):
    edited(lab.only.results / "test.json", '"mAP": ', '"mAP": 1')
    assert differences(lab) == ["record: results/test.json is not the file that the journal recorded"]


def test_a_summary_that_was_changed_by_hand(lab):
    summary = lab.only.summary()
    value = summary["test"]["mAP"]
    lab.only.amend({"test": {**summary["test"], "mAP": value + 1}})
    assert differences(lab) == [f"record: summary.json, test mAP: recorded {value!r}, now {value + 1!r}"]


def test_other_weights_of_a_checkpoint(lab):
    file = lab.only.checkpoints / "best.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert differences(lab) == ["record: checkpoints/best.safetensors is not the file that the journal recorded"]


def changed_journal(lab, kind, name, step):
    """One value of the journal made another one; the old and the new."""
    lines, found = lab.only.journal.read_text().splitlines(keepends=True), []
    for place, line in enumerate(lines):
        record = json.loads(line)
        if (record["kind"], record["name"], record["step"]) == (kind, name, step):
            found.append(record["value"])
            lines[place] = encode({**record, "value": record["value"] + 0.5}) + "\n"
    lab.only.journal.write_text("".join(lines))
    (value,) = found
    return value


def test_a_record_that_was_changed_by_hand(lab):
    value = changed_journal(lab, "loss", "loss/total", 2)
    done = again(lab)
    assert done.code == 1
    assert f"differs  loss/total at step 2: recorded {value + 0.5!r}, replayed {value!r}" in done.out
    assert done.out[-1].startswith(f"{lab.only.run_id}: 1 of ")
    assert done.out[-1].endswith("; no recorded input does")


def test_a_record_that_was_taken_out(lab):
    lines = lab.only.journal.read_text().splitlines(keepends=True)
    gone = next(line for line in lines if '"kind":"loss","name":"loss/total","step":3,' in line)
    lab.only.journal.write_text("".join(line for line in lines if line != gone))
    done = again(lab)
    assert done.code == 1
    assert any("loss/total at step 3: replayed " in line and "the run has no such record" in line for line in done.out)


def test_a_changed_pixel_of_a_folder(lab):
    folder = lab.written("png")
    assert lab.run(*SHORT, f"data={{name: cuhk_pedes, root: {folder}}}").code == 0
    run = next(f for f in lab.folders() if "cuhk_pedes" in (f.path / "spec.yaml").read_text())
    assert again(lab, run=run.run_id).code == 0
    path = next(name for name in json.loads((run.path / "inputs.json").read_text())["data"] if name.endswith(".png"))
    file = next(folder.rglob(Path(path).name))
    with Image.open(file) as image:
        pixels = image.copy()
    red, *rest = pixels.getpixel((0, 0))
    pixels.putpixel((0, 0), (red ^ 1, *rest))
    pixels.save(file)
    done = again(lab, run=run.run_id)
    assert done.code == 1
    assert any(line.startswith(f"differs  data: {path}: recorded ") for line in done.out)
    shutil.rmtree(folder)
    done = again(lab, "--anyway", run=run.run_id)
    assert done.code == 1
    assert any(line.startswith("differs  data: ") and "no such folder" in line for line in done.out)


def test_an_image_that_was_written_since_where_there_are_too_many_to_read(lab, monkeypatch):
    monkeypatch.setattr(contents, "READ", 0)
    folder = lab.written("png")
    assert lab.run(*SHORT, f"data={{name: cuhk_pedes, root: {folder}}}").code == 0
    run = next(f for f in lab.folders() if "cuhk_pedes" in (f.path / "spec.yaml").read_text())
    images = [name for name in json.loads((run.path / "inputs.json").read_text())["data"] if name.endswith(".png")]
    file = next(folder.rglob(Path(images[0]).name))
    os.utime(file, ns=(1, 1))
    done = again(lab, run=run.run_id)
    told = f"differs  data: 1 of {len(images)} images were written since; too many to be read: {images[0]}"
    assert (done.code, done.out[0]) == (1, told)


def test_other_weights_of_a_trunk(lab):
    clip = lab.folder / "clip"
    shutil.copytree(lab.clip, clip)
    assert lab.run(*SHORT, f"model.backbone={clip}").code == 0
    run = next(f for f in lab.folders() if str(clip) in (f.path / "spec.yaml").read_text())
    tensors = load_file(clip / "model.safetensors")
    name = sorted(tensors)[0]
    tensors[name] = tensors[name] + 1e-3
    save_file(tensors, clip / "model.safetensors", {"format": "pt"})
    done = again(lab, run=run.run_id)
    assert done.code == 1
    assert any(line.startswith("differs  weights: model.backbone: recorded ") for line in done.out)


# what is computed, and where it stays


def test_anyway_computes_and_says_what_differed(lab, monkeypatch):
    version = provenance._version
    monkeypatch.setattr(provenance, "_version", lambda name: "9.9.9" if name == "numpy" else version(name))
    done = again(lab, "--anyway")
    assert done.code == 0
    assert "the same results, bit for bit, although 1 input differs (" in done.out[-1]


def test_another_seed_gives_other_results_and_the_first_is_named(lab):
    edited(lab.only.path / "spec.yaml", "\nseed: 0", "\nseed: 7")
    done = again(lab, "--anyway")
    assert done.code == 1
    first = next(line for line in done.out if line.startswith("differs  ") and " at step " in line)
    assert ": recorded " in first
    assert ", replayed " in first


def test_a_replay_is_kept_apart_from_runs(lab):
    name = lab.only.run_id
    before = tree(lab.only.path)
    assert again(lab, "--keep").code == 0
    assert again(lab, "--keep").code == 0
    assert [folder.run_id for folder in folders(lab.runs)] == [name]
    assert tree(lab.runs / name) == before
    places = sorted((lab.runs / "replays" / name).iterdir())
    assert [place.name for place in places] == ["1", "2"]
    (kept,) = (RunFolder(path.parent) for path in places[0].glob("*/journal.jsonl"))
    assert kept.summary()["replay_of"] == name
    told = json.loads((kept.path / "replay.json").read_text())
    assert (told["of"], told["proven"], told["differing"]) == (name, True, 0)


def test_a_run_that_was_pruned(lab):
    def stop(step, metrics):
        if step:
            raise Pruned("not worth it")

    with pytest.raises(Pruned) as ended:
        experiment.run(
            load_spec(lab.file, seed=5), runs=lab.runs, console=Console(quiet=True), until="fit", on_eval=stop
        )
    done = again(lab, run=ended.value.run_id)
    assert done.code == 0, done.out


def test_a_run_that_began_from_another(lab):
    first = lab.only.run_id
    assert lab.run(*SHORT, f"train.init_from={first}", "seed=3").code == 0
    run = next(f for f in lab.folders() if f.run_id != first)
    assert again(lab, run=run.run_id).code == 0
    shutil.rmtree(lab.runs / first)
    assert again(lab, run=run.run_id).code == 2


@pytest.mark.parametrize(
    ("summary", "line"),
    [
        ({"stages": []}, "is not finished; the command that began it goes on with it"),
        ({"features": True}, "measured features of other code; nothing was trained that could be replayed"),
        ({"imported": {}}, "was imported; its training happened elsewhere"),
    ],
)
def test_a_run_that_cannot_be_replayed_is_one_line(lab, summary, line):
    lab.only.amend(summary)
    done = again(lab)
    assert (done.code, done.out) == (2, [])
    assert done.complaints == [f"reid-lab: {lab.only.run_id} {line}"]


def test_a_mistake_is_one_line(lab):
    done = again(lab, run="nobody")
    assert (done.code, len(done.complaints)) == (2, 1)
    done = again(lab, "--tolerance", "0.1")
    assert done.complaints == ["reid-lab: --tolerance: the run was computed on a CPU, where bits are compared"]


def test_a_run_of_an_earlier_version_says_what_it_did_not_record(lab):
    (lab.only.path / "inputs.json").unlink()
    file = lab.only.path / "environment.json"
    held = json.loads(file.read_text())
    for name in ("computing", "settings", "cpu_model", "commit"):
        held.pop(name, None)
    file.write_text(json.dumps(held))
    done = again(lab)
    assert "note     not recorded: the parts of the data; their digest alone is compared" in done.out
    assert "note     not recorded: threads and libraries of torch; threads are those of the spec" in done.out
    assert "differs  code: the code of commit none is not known here" in done.out


# the pieces


def journal(folder, name, *lines):
    path = folder / name
    path.write_text(
        "".join(encode({"kind": k, "name": n, "step": s, "time": 1, "value": packed(v)}) + "\n" for k, n, s, v in lines)
    )
    return path


def test_a_tolerance_holds_for_numbers_and_lets_digests_differ(tmp_path):
    run = journal(tmp_path, "a", ("loss", "loss/id", 1, 2.0), ("final", "final/weights", 1, {"sha256": "a"}))
    same = journal(tmp_path, "b", ("loss", "loss/id", 1, 2.002), ("final", "final/weights", 1, {"sha256": "b"}))
    assert records.compare(run, same, tolerance=0.0011).proven
    verdict = records.compare(run, same, tolerance=0.0009)
    assert (verdict.proven, verdict.differing) == (False, 1)
    assert verdict.largest == pytest.approx(0.001)
    assert records.compare(run, same).differing == 2


@pytest.mark.parametrize("other", [float("nan"), None, "x"])
def test_no_tolerance_lets_a_number_be_none(tmp_path, other):
    run = journal(tmp_path, "a", ("val", "val/mAP", 1, 2.0))
    same = journal(tmp_path, "b", ("val", "val/mAP", 1, other))
    assert not records.compare(run, same, tolerance=1e9).proven


def test_nan_is_nan(tmp_path):
    run = journal(tmp_path, "a", ("diag", "diag/x", 1, float("nan")))
    assert records.compare(run, run).proven


@pytest.fixture
def checkout(tmp_path):
    """A package under git: `lab/run.py` imports `lab/part.py`, and neither imports `lab/table.py`."""
    package = tmp_path / "top" / "lab"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "run.py").write_text("def run():\n    from lab.part import scale\n\n    return scale(2)\n")
    (package / "part.py").write_text('"""A part."""\n\n\ndef scale(x):\n    return 2 * x\n')
    (package / "table.py").write_text("ROWS = 3\n")

    def git(*words):
        done = subprocess.run(
            ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b", *words],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    git("init", "-q")
    git("add", ".")
    git("commit", "-q", "-m", "one")
    return package, git


def compared(package, commit, changes="", held=None):
    found = Findings()
    code.compare(found, held or {}, code.Checkout(commit, changes, package), ["lab.run"])
    return [str(one) for one in found.differences], found.notes


def test_a_changed_line_is_told_with_what_it_was(checkout):
    package, git = checkout
    held, commit = provenance.sources(package), git("rev-parse", "HEAD").strip()
    assert compared(package, commit, held=held) == ([], [])
    edited(package / "part.py", "2 * x", "3 * x")
    edited(package / "table.py", "3", "4")
    for known in (held, None):
        told, notes = compared(package, commit, held=known)
        assert told == ["code: lab/part.py:5: was 'return 2 * x', is 'return 3 * x'"]
        assert notes[-1] == "code that this run does not import differs: lab/table.py"
    git("commit", "-q", "-a", "-m", "two")
    assert compared(package, commit)[0] == told


def test_changes_that_were_never_committed_are_known_from_their_record(checkout):
    package, git = checkout
    commit = git("rev-parse", "HEAD").strip()
    edited(package / "part.py", "2 * x", "3 * x")
    held, changes = provenance.sources(package), git("diff", "HEAD")
    assert compared(package, commit, changes, held) == ([], [])
    edited(package / "part.py", "3 * x", "4 * x")
    for known in (held, None):
        told, _ = compared(package, commit, changes, known)
        assert told == ["code: lab/part.py:5: was 'return 3 * x', is 'return 4 * x'"]


def test_comments_and_docstrings_compute_nothing(checkout):
    package, git = checkout
    commit = git("rev-parse", "HEAD").strip()
    edited(package / "part.py", '"""A part."""', '"""Another word."""\n\n# and a comment')
    told, notes = compared(package, commit, held=None)
    assert told == []
    assert notes == ["comments, docstrings or layout alone differ: lab/part.py"]


def test_without_git_the_file_is_named(checkout):
    package, _ = checkout
    held = provenance.sources(package)
    edited(package / "part.py", "2 * x", "3 * x")
    told, _ = compared(package, "", held=held)
    assert told == ["code: lab/part.py differs (git does not know the recorded lines)"]
    assert compared(package, "0" * 40)[0] == ["code: the code of commit 000000000000 is not known here"]


def test_what_a_run_imports_is_what_it_computes_with():
    used = code.imported(["reid_lab.experiment", "reid_lab.architectures.irra"])
    assert {"reid_lab/engine/fit.py", "reid_lab/parts/trunk.py", "reid_lab/architectures/irra.py"} <= used
    assert not {path for path in used if path.startswith(("reid_lab/study/", "reid_lab/report/", "reid_lab/cli/"))}
    assert "reid_lab/architectures/hybrid.py" not in used


EMBEDDED = sorted(path.stem for path in (ROOT / "experiments").glob("*.yaml"))
STEPS = os.environ.get("REID_LAB_REPLAY_STEPS", "4")
"""Steps of each training; `all` for those that the files ask for."""


@pytest.mark.slow
@pytest.mark.parametrize("name", EMBEDDED)
def test_every_embedded_experiment_is_the_same_bit_for_bit(lab, name):
    whole = STEPS == "all"
    sets = [] if whole else [f"train.length={{steps: {STEPS}}}", f"eval.every={{steps: {STEPS}}}"]
    words = [word for value in ("tracking.uri=off", "tracking.log_every=1", *sets) for word in ("--set", value)]
    runs = lab.folder / "embedded"
    done = lab.call("run", str(ROOT / "experiments" / f"{name}.yaml"), *words, "--runs", str(runs))
    assert done.code == 0, done.err
    (run,) = folders(runs)
    done = lab.call("replay", run.run_id, "--runs", str(runs))
    assert done.code == 0, done.out
    assert "the same results, bit for bit" in done.out[-1]

"""The command line: start-up, mistakes, listings. Commands that compute are tested with the experiment."""

from __future__ import annotations

import errno
import inspect
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from reid_lab import catalogue, cli, datasets, doctor, experiment, pretrain, rehearsal
from reid_lab.data.items import Row, tabulate
from reid_lab.errors import Fault, Interrupted, UserError
from reid_lab.spec.show import resolved_yaml
from reid_lab.tracking.runs import RunFolder
from tests.spec.fakes import GOOD, REGISTRIES

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "mlflow", "optuna", "transformers", "pandas", "numpy", "rich")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REID_LAB_RUNS", raising=False)
    monkeypatch.setattr(catalogue, "registries", lambda: REGISTRIES)
    return tmp_path


@pytest.fixture
def command(capsys):
    def call(*arguments: str) -> tuple[int, list[str], list[str]]:
        with pytest.raises(SystemExit) as exited:
            cli.main(arguments)
        captured = capsys.readouterr()
        return int(exited.value.code or 0), captured.out.splitlines(), captured.err.splitlines()

    return call


def script(code: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False, **options
    )


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["list", "--help"], []])
def test_help_imports_nothing_heavy(arguments):
    code = f"""
import sys
from reid_lab.cli import main
try:
    main({arguments!r})
except SystemExit as exited:
    print(exited.code, sorted(set({HEAVY!r}) & set(sys.modules)), file=sys.stderr)
"""
    done = script(code)
    assert done.stderr.splitlines() == ["0 []"]
    assert done.stdout.startswith("Usage: reid-lab")


def test_every_command_has_a_whole_line_of_help(command):
    code, out, _ = command("--help")
    assert code == 0
    names = [line.split()[0] for line in out[out.index("Commands:") + 1 :]]
    assert set(names) >= {"run", "show", "schema", "list", "data", "evaluate", "pretrain", "sync", "ui", "doctor"}
    assert not any(line.endswith("...") for line in out[1:])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["rn"], "reid-lab: no such command 'rn'; did you mean 'run'? (see reid-lab --help)"),
        (["zzz"], "reid-lab: no such command 'zzz' (see reid-lab --help)"),
        (["list"], "reid-lab: missing command (see reid-lab list --help)"),
        (["list", "run"], "reid-lab: no such command 'run'; did you mean 'runs'? (see reid-lab list --help)"),
        (["run"], "reid-lab: missing argument 'file' (see reid-lab run --help)"),
        (["run", "a", "--sed", "1"], "reid-lab: no such option: --sed (Possible options: --seed, --set)"),
        (["run", "a", "b"], "reid-lab: got unexpected extra argument(s) (b) (see reid-lab run --help)"),
        (["run", "a", "--seed", "x"], "reid-lab: invalid value for '--seed': Input should be a valid integer"),
        (["run", "a", "--resume", "--fresh"], "reid-lab: --resume goes on with a run and --fresh begins another"),
        (["run", "a.yaml"], "reid-lab: a.yaml: no such file"),
        (["list", "experiments", "none"], "reid-lab: no experiment files in none"),
    ],
)
def test_a_wrong_command_line_is_one_line(folder, command, arguments, line):
    code, out, err = command(*arguments)
    assert (code, out, len(err)) == (2, [], 1)
    assert err[0].startswith(line)
    assert not list(folder.iterdir())


@pytest.mark.parametrize("verb", [["show"], ["run"], ["run", "--dry-run"], ["run", "--fresh"]])
def test_a_malformed_spec_is_told_line_by_line_and_creates_nothing(folder, command, verb):
    (folder / "bad.yaml").write_text(GOOD + "train: {batch: {sise: 4, size: 0}}\nseed: -1\n")
    code, out, err = command(*verb, "bad.yaml", "--set", "runtime.threads=no")
    assert (code, out) == (2, [])
    assert err == [
        "reid-lab: bad.yaml:4:17: train.batch.sise: no such key; did you mean 'size'? "
        "(allowed: sampler, size, instances, drop_last)",
        "reid-lab: bad.yaml:4:32: train.batch.size: expected an integer >= 1, got 0",
        "reid-lab: bad.yaml:5:7: seed: expected an integer >= 0, got -1",
        "reid-lab: --set runtime.threads=no:17: runtime.threads: expected an integer >= 1, got the string 'no'",
    ]
    assert [path.name for path in folder.iterdir()] == ["bad.yaml"]


def test_show_prints_the_resolved_spec(folder, command):
    (folder / "good.yaml").write_text(GOOD)
    code, out, err = command("show", "good.yaml", "--set", "seed=3", "--set", "train.accumulate=2")
    assert (code, err) == (0, [])
    loaded = catalogue.load_spec(Path("good.yaml"), ["seed=3", "train.accumulate=2"])
    assert "\n".join(out) + "\n" == resolved_yaml(loaded)
    assert (loaded.spec.seed, loaded.spec.train.accumulate) == (3, 2)


def test_seed_and_device_are_overrides(folder):
    (folder / "good.yaml").write_text(GOOD)
    loaded = catalogue.load_spec(Path("good.yaml"), ["seed=3"], seed=4, device="cuda:1")
    assert (loaded.spec.seed, loaded.spec.runtime.device) == (4, "cuda:1")
    assert loaded.origin["runtime.device"].startswith("--set runtime.device=")


def test_schema_is_json(folder, command):
    code, out, err = command("schema")
    assert (code, err) == (0, [])
    assert json.loads("\n".join(out))["properties"]["model"]["properties"]["name"]["enum"] == ["irra", "other"]


def test_list_experiments_shows_good_and_broken_files(folder, command):
    (folder / "experiments" / "paper").mkdir(parents=True)
    (folder / "experiments" / "a.yaml").write_text(GOOD + "description: a first one\n")
    (folder / "experiments" / "b.yaml").write_text("name: [\n")
    (folder / "experiments" / "paper" / "c.yaml").write_text("extends: ../a.yaml\ndescription: as published\n")
    code, out, _ = command("list", "experiments")
    assert code == 0
    assert [line.split()[0] for line in out] == ["file", *(f"experiments/{n}.yaml" for n in ("a", "b", "paper/c"))]
    assert out[1].split(maxsplit=3)[1:] == ["irra", "pictures", "a first one"]
    assert "broken: experiments/b.yaml:2:1: bad YAML" in out[2]
    assert out[3].split(maxsplit=3)[1:] == ["irra", "pictures", "as published"]


def test_list_architectures_names_their_papers(command):
    code, out, _ = command("list", "architectures")
    assert code == 0
    assert any(line.startswith("irra ") and "CVPR 2023" in line for line in out)


def test_list_datasets_says_what_they_are(command):
    code, out, _ = command("list", "datasets")
    assert code == 0
    assert any(line.startswith("synthetic ") and "procedurally drawn" in line for line in out)


def test_list_runs_shows_state_and_metrics(folder, command):
    assert command("list", "runs")[1] == ["run  experiment  seed  state  val mAP  test mAP  test R1"]
    for name in ("aaaaaaaaaaaa-1", "bbbbbbbbbbbb-1"):
        (folder / "elsewhere" / name).mkdir(parents=True)
        (folder / "elsewhere" / name / "journal.jsonl").touch()
        (folder / "elsewhere" / name / "spec.yaml").touch()
    RunFolder(folder / "elsewhere" / "aaaaaaaaaaaa-1").finish("fit", {"name": "x", "seed": 3, "val": {"mAP": 41.239}})
    RunFolder(folder / "elsewhere" / "aaaaaaaaaaaa-1").finish("test", {"test": {"mAP": 40.0, "R1": 50.0}})
    code, out, _ = command("list", "runs", "--runs", "elsewhere")
    assert code == 0
    assert sorted(line.split() for line in out[1:]) == [
        ["aaaaaaaaaaaa-1", "x", "3", "finished", "41.24", "40.00", "50.00"],
        ["bbbbbbbbbbbb-1", "unfinished"],
    ]


@pytest.mark.parametrize(
    ("arguments", "function", "expected"),
    [
        (["run", "good.yaml"], "run", {"runs": Path("runs"), "fresh": False, "resume": False}),
        (["run", "good.yaml", "--fresh", "--runs", "r"], "run", {"runs": Path("r"), "fresh": True, "resume": False}),
        (["run", "good.yaml", "--resume"], "run", {"runs": Path("runs"), "fresh": False, "resume": True}),
        (["run", "good.yaml", "--dry-run"], "dry_run", {"runs": Path("runs")}),
        (
            ["evaluate", "abc", "--set", "data.preset=smoke", "--device", "cpu"],
            "evaluate_run",
            {"name": "abc", "runs": Path("runs"), "sets": ["data.preset=smoke"], "device": "cpu"},
        ),
        (["pretrain", "there", "--runs", "r"], "pretrain", {"out": Path("there"), "runs": Path("r"), "device": None}),
    ],
)
def test_commands_hand_over_what_was_given(folder, command, monkeypatch, arguments, function, expected):
    (folder / "good.yaml").write_text(GOOD)
    room = {"pretrain": pretrain, "dry_run": rehearsal}.get(function, experiment)
    signature = inspect.signature(getattr(room, function))
    seen = {}

    def record(*args, **kwargs):
        seen.update(signature.bind(*args, **kwargs).arguments)

    monkeypatch.setattr(room, function, record)
    code, _, err = command(*arguments)
    assert (code, err) == (0, [])
    assert expected.items() <= seen.items()
    if "loaded" in seen:
        assert seen["loaded"].spec.name == "good"


def test_the_runs_folder_can_come_from_the_environment(folder, command, monkeypatch):
    monkeypatch.setenv("REID_LAB_RUNS", str(folder / "mine"))
    code, _, err = command("evaluate", "abc")
    assert code == 2
    assert err[0].startswith(f"reid-lab: {folder / 'mine'}: no run 'abc'")


def raising(error: BaseException):
    def registries():
        raise error

    return registries


@pytest.mark.parametrize(
    ("error", "code", "lines"),
    [
        (UserError(Fault("wrong", "a.yaml:1:1"), "also\nwrong"), 2, ["a.yaml:1:1: wrong", "also wrong"]),
        (Interrupted("a checkpoint was written"), 130, ["a checkpoint was written"]),
        (KeyboardInterrupt(), 130, []),
        (
            OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "runs/x"),
            2,
            ["the disk is full (runs/x); make room, and the same command goes on"],
        ),
        (OSError(errno.EACCES, os.strerror(errno.EACCES), "runs"), 2, ["runs: permission denied"]),
        (OSError(errno.EROFS, os.strerror(errno.EROFS)), 2, ["no file named: read-only file system"]),
    ],
)
def test_what_goes_wrong_is_one_line_each(folder, command, monkeypatch, error, code, lines):
    monkeypatch.setattr(catalogue, "registries", raising(error))
    got, out, err = command("schema")
    assert (got, out) == (code, [])
    assert err == [f"reid-lab: {line}" for line in lines]


def test_a_bug_is_not_hidden(folder, monkeypatch):
    monkeypatch.setattr(catalogue, "registries", raising(ZeroDivisionError("a bug")))
    with pytest.raises(ZeroDivisionError):
        cli.main(["schema"])


def test_a_closed_pipe_is_no_error_message():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "reid_lab", "--help"], stdout=write, stderr=subprocess.PIPE, cwd=ROOT, check=False
    )
    os.close(write)
    assert done.stderr == b""
    assert done.returncode == 1


@pytest.fixture
def drawn(folder, monkeypatch):
    from reid_lab.data.synthetic import SyntheticSpec

    monkeypatch.setenv("REID_LAB_CACHE", str(folder / "cache"))
    registries = replace(REGISTRIES, data={**REGISTRIES.data, "synthetic": lambda: SyntheticSpec})
    monkeypatch.setattr(catalogue, "registries", lambda: registries)
    sizes = ("train_identities=2", "val_identities=1", "test_identities=1", "image_size=[48, 24]")
    return [text for size in ("preset=smoke", *sizes) for text in ("--set", size)]


@pytest.mark.parametrize(("pixels", "suffix"), [((), ".jpg"), (("--pixels", "png"), ".png")])
def test_data_make_writes_a_folder(folder, command, drawn, pixels, suffix):
    code, out, err = command("data", "make", "cuhk_pedes", "there", *pixels, *drawn)
    assert (code, out, err) == (0, ["there"], [])
    entries = json.loads((folder / "there" / "reid_raw.json").read_text())
    assert len(entries) == 2 * 3 + 4 + 4
    assert all((folder / "there" / "imgs" / e["file_path"]).suffix == suffix for e in entries)
    assert all((folder / "there" / "imgs" / e["file_path"]).is_file() for e in entries)
    code, _, err = command("data", "make", "cuhk_pedes", "there", *drawn)
    assert (code, err) == (2, ["reid-lab: there: is not empty; name a new folder"])


def test_data_preview_writes_an_image(folder, command, drawn):
    code, out, _ = command("data", "preview", "synthetic", "--pid", "0", "--pid", "3", "--out", "sheet.png", *drawn)
    assert (code, out) == (0, ["sheet.png"])
    assert (folder / "sheet.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["synthetc"], "unknown data set 'synthetc'; allowed: pictures, synthetic; did you mean 'synthetic'?"),
        (["pictures"], "'pictures' is read from files; only synthetic can be drawn"),
        (["synthetic", "--set", "hard=2"], "--set hard=2:6: hard: expected a number from 0 to 1 or null, got 2"),
        (["synthetic", "--pid", "9"], "no person 9; the data set has pids 0 to 3"),
        (
            ["synthetic", "--pid", "0", "--out", "sheet.picture"],
            "sheet.picture: no image format has this suffix; name the file .png or .jpg",
        ),
        (
            ["synthetic", "--pid", "0", "--out", "no/sheet.png"],
            "no/sheet.png: cannot write the sheet (No such file or directory)",
        ),
    ],
)
def test_data_refuses_in_one_line(folder, command, drawn, arguments, line):
    small = drawn if arguments[0] == "synthetic" else []
    code, out, err = command("data", "preview", *small, *arguments)
    assert (code, out, err) == (2, [], [f"reid-lab: {line}"])
    assert not (folder / "preview.png").exists()


def test_counts_of_a_data_set():
    rows = [
        Row("train", "rgb", 0, 0, path="a", camid=0),
        Row("train", "rgb", 1, 1, path="b", camid=3),
        Row("train", "caption", 1, 1, caption="c"),
        Row("test", "rgb", 2, 2, path="d", side="query"),
    ]

    class Fixed:
        items = tabulate(rows)

    assert datasets.counts(Fixed()) == [
        ("train", "-", "rgb", "2", "2", "2"),
        ("train", "-", "caption", "1", "1", "-"),
        ("test", "query", "rgb", "1", "1", "-"),
    ]
    assert datasets.camera_counts(Fixed()) == [("train", "0", "rgb", "1", "1"), ("train", "3", "rgb", "1", "1")]


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("REID_LAB_CACHE", raising=False)
    assert catalogue.cache_folder() == tmp_path / "reid-lab"
    monkeypatch.setenv("REID_LAB_CACHE", str(tmp_path / "x"))
    assert catalogue.cache_folder() == tmp_path / "x"


def test_doctor_names_what_it_finds(monkeypatch, tmp_path):
    hub = tmp_path / "hub"
    (hub / "models--openai--clip-vit-base-patch16").mkdir(parents=True)
    monkeypatch.setenv("HF_HUB_CACHE", str(hub))
    monkeypatch.setattr(doctor, "PACKAGES", ("torch", "no-such-package"))
    runs = tmp_path / "not" / "there"
    found = {check.what: check for check in doctor.examine(runs, smoke=False)}
    assert found["cached weights"].found == "openai/clip-vit-base-patch16"
    assert found["no-such-package"].failed
    assert not found["torch"].failed
    assert "GiB free" in found["runs"].found
    assert found["mlflow store"].found == f"sqlite:///{runs}/mlflow.db"
    assert str(found["no-such-package"]) == "FAILED  no-such-package  not installed"
    assert not runs.exists()


@pytest.mark.slow
def test_doctor_trains_and_tests_in_a_temporary_folder(tmp_path):
    (check,) = [check for check in doctor.examine(tmp_path / "runs") if check.what == "smoke run"]
    assert not check.failed, check.found
    assert check.found.startswith("trained and tested in")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("given", "expected"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_threads_that_wait_leave_the_core_unless_told_otherwise(command, monkeypatch, given, expected):
    monkeypatch.setenv("OMP_WAIT_POLICY", given or "")
    if given is None:
        monkeypatch.delenv("OMP_WAIT_POLICY")
    command("--help")
    assert os.environ["OMP_WAIT_POLICY"] == expected

"""The workspace to copy: whole or not at all, its settings start a server, it describes every experiment and study."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from reid_lab import cli
from reid_lab.errors import UserError
from reid_lab.spec.loader import outline
from reid_lab.study.listing import study_name
from reid_lab.tracking.template import copy_workspace, template
from reid_lab.tracking.workspace import apply_workspace

ROOT = Path(__file__).parents[2]
SECRETS = {"PGPASSWORD": "a", "MLFLOW_AUTH_ADMIN_PASSWORD": "b" * 12, "MLFLOW_FLASK_SERVER_SECRET_KEY": "c"}


def init(folder, capsys):
    with pytest.raises(SystemExit) as exited:
        cli.main(["init", str(folder)])
    said = capsys.readouterr()
    return exited.value.code, said.out.splitlines(), said.err.splitlines()


def test_the_template_is_copied_whole(tmp_path, capsys):
    code, out, err = init(tmp_path / "lab" / "runs", capsys)
    assert (code, err) == (0, [])
    copied = sorted(path.name for path in (tmp_path / "lab" / "runs").iterdir())
    assert copied == sorted(path.name for path in template().iterdir())
    assert {
        "README.md",
        "experiments.yaml",
        "local.env",
        "server.env",
        "compose.yaml",
        "reid-lab-mlflow.service",
    } <= set(copied)
    assert out[-1].endswith(f"REID_LAB_RUNS={tmp_path / 'lab' / 'runs'}")
    assert os.access(tmp_path / "lab" / "runs" / "serve.sh", os.X_OK)
    assert [path.name for path in (tmp_path / "lab").iterdir()] == ["runs"]


def test_an_empty_folder_is_filled_and_stays_the_same_folder(tmp_path):
    before = tmp_path.stat().st_ino
    names = copy_workspace(tmp_path)
    assert tmp_path.stat().st_ino == before
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_what_is_there_stays_untouched(tmp_path, capsys):
    (tmp_path / "mlflow.db").write_text("runs")
    line = f"reid-lab: {tmp_path}: is not empty (mlflow.db); name a new folder"
    assert init(tmp_path, capsys) == (2, [], [line])
    assert init(tmp_path / "mlflow.db", capsys)[2] == [f"reid-lab: {tmp_path / 'mlflow.db'}: is a file; name a folder"]
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


@pytest.mark.parametrize("exists", [True, False])
def test_a_failure_half_way_leaves_nothing(tmp_path, monkeypatch, exists):
    target = tmp_path / "runs"
    if exists:
        target.mkdir()
    real, moved = Path.rename, []

    def fail(self, to):
        if moved or not exists:
            raise OSError(28, "No space left on device")
        moved.append(self)
        return real(self, to)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(UserError, match=r"runs: cannot be written: No space left"):
        copy_workspace(target)
    assert [path.name for path in tmp_path.rglob("*")] == (["runs"] if exists else [])


def test_every_experiment_is_described_and_every_study_has_a_view(store):
    views = apply_workspace(store, template() / "experiments.yaml")
    content = yaml.safe_load((template() / "experiments.yaml").read_text())
    for file in sorted((ROOT / "experiments").glob("*.yaml")):
        assert "How to read it" in content[outline(file).name]["description"], file
    studies = sorted((ROOT / "studies").glob("*.yaml"))
    assert len(studies) >= 16
    for file in studies:
        base = outline(file.parent / yaml.safe_load(file.read_text())["base"]).name
        view = f"study {study_name(file)}"
        assert view in views[base]
        assert content[base]["views"][view]["search"] == f"tags.`reid_lab.study` = '{study_name(file)}'"


def started(workspace, settings, tmp_path, **environment):
    """What `serve.sh` would start: a stand-in of mlflow prints its arguments and surroundings."""
    (tmp_path / "bin").mkdir(exist_ok=True)
    fake = tmp_path / "bin" / "mlflow"
    fake.write_text('#!/bin/sh\nprintf "%s\\n" "$@"; env; cat "$MLFLOW_AUTH_CONFIG_PATH" 2>/dev/null; true\n')
    fake.chmod(0o755)
    return subprocess.run(
        [workspace / "serve.sh", workspace / settings],
        env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "TMPDIR": str(tmp_path), **environment},
        capture_output=True,
        text=True,
    )


def test_local_settings_stay_on_this_machine(tmp_path):
    workspace = tmp_path / "runs"
    copy_workspace(workspace)
    out = started(workspace, "local.env", tmp_path).stdout.splitlines()
    assert out[:11] == [
        "server",
        *("--backend-store-uri", f"sqlite:///{workspace}/mlflow.db"),
        *("--artifacts-destination", f"{workspace}/artifacts"),
        *("--host", "127.0.0.1"),
        *("--port", "5000"),
        *("--workers", "1"),
    ]
    assert out[11:13] == ["--allowed-hosts", "localhost:5000,127.0.0.1:5000"]
    assert {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false", "MLFLOW_DISABLE_TELEMETRY=true"} <= set(out)
    assert not {"basic-auth", "--cors-allowed-origins"} & set(out)


def test_server_settings_ask_for_passwords(tmp_path):
    workspace = tmp_path / "runs"
    copy_workspace(workspace)
    done = started(workspace, "server.env", tmp_path)
    assert done.returncode == 2
    assert done.stderr == "serve.sh: MLFLOW_AUTH_ADMIN_PASSWORD is not set; see secrets.env.example\n"
    (workspace / "secrets.env").write_text("".join(f"{name}={value}\n" for name, value in SECRETS.items()))
    out = started(workspace, "server.env", tmp_path, DATABASE="db:1", TRACKER="lab.example").stdout.splitlines()
    given = dict(zip(out[1::2], out[2::2], strict=False))
    assert given["--app-name"] == "basic-auth"
    assert given["--backend-store-uri"] == "postgresql://reid_lab@db:1/mlflow"
    assert given["--artifacts-destination"] == "s3://reid-lab/artifacts"
    assert given["--allowed-hosts"] == "lab.example,lab.example:5000,localhost:5000"
    assert {f"{name}={value}" for name, value in SECRETS.items()} <= set(out)
    assert "MLFLOW_S3_ENDPOINT_URL=https://objects.example:9000" in out
    assert out[-5:-1] == [
        "[mlflow]",
        "default_permission = EDIT",
        "database_uri = postgresql://reid_lab@db:1/mlflow_auth",
        "admin_username = admin",
    ]


def test_the_template_needs_a_settings_file(tmp_path):
    done = started(template(), "none.env", tmp_path)
    assert (done.returncode, done.stderr[:6]) == (2, "usage:")


def test_the_compose_file_uses_the_settings_and_the_secrets():
    content = yaml.safe_load((template() / "compose.yaml").read_text())
    services = content["services"]
    assert set(services) == {"database", "objects", "bucket", "mlflow"}
    assert [name for name, service in services.items() if "ports" in service] == ["mlflow"]
    for name in ("database", "objects", "mlflow"):
        assert services[name]["env_file"] == "secrets.env"
    assert services["mlflow"]["command"] == ["/workspace/serve.sh", "/workspace/server.env"]
    for named in services.values():
        for volume in named.get("volumes", []):
            source = volume.split(":")[0]
            assert source in content["volumes"] or (template() / source).is_file()


def test_the_unit_starts_a_file_of_the_template():
    lines = (template() / "reid-lab-mlflow.service").read_text().splitlines()
    (start,) = [line for line in lines if line.startswith("ExecStart=")]
    program, settings = start.removeprefix("ExecStart=").split()
    assert os.access(template() / Path(program).name, os.X_OK)
    assert (template() / settings).is_file()

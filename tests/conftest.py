"""Shared by all tests: one thread of torch each, so that parallel tests do not fight for cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")

import pytest

from tests.lab import Lab, write_clip


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory):
    """A folder with a small random CLIP."""
    return write_clip(tmp_path_factory.mktemp("trunks") / "clip")


@pytest.fixture(scope="session")
def world_cache(tmp_path_factory):
    """Where the worlds of this session are drawn, each once."""
    return tmp_path_factory.mktemp("worlds")


@pytest.fixture
def lab(tmp_path, tiny_clip, world_cache, monkeypatch):
    """A laboratory in an empty folder."""
    monkeypatch.setenv("REID_LAB_CACHE", str(world_cache))
    monkeypatch.delenv("REID_LAB_RUNS", raising=False)
    monkeypatch.chdir(tmp_path)
    return Lab(tmp_path, tiny_clip, world_cache)

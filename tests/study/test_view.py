"""What a person sees of a study: curves in a word, times, a live table, plain lines."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from reid_lab.study.jobs import Job, Outcome
from reid_lab.study.view import Lines, Screen, view
from reid_lab.study.words import duration, left, sparkline

STATE = {
    "seeds": [0, 1],
    "arms": [
        {
            "name": "full",
            "trials": {"complete": 2, "pruned": 1, "failed": 1, "target": 4},
            "best": {"trial": 1, "scores": [41.5]},
            "cells": {"0": {"run": "a"}, "1": None},
        }
    ],
}


@pytest.mark.parametrize(
    ("values", "drawn"),
    [([], ""), ([1.0], "▁"), ([0.0, 1.0], "▁█"), ([3.0, 3.0], "▁▁"), ([0.0, 7.0, 3.0], "▁█▄")],
)
def test_sparkline(values, drawn):
    assert sparkline(values) == drawn


@pytest.mark.parametrize(
    ("seconds", "said"), [(35, "35 s"), (89.4, "89 s"), (240, "4 min"), (5300, "88 min"), (7500, "2 h 5 min")]
)
def test_duration(seconds, said):
    assert duration(seconds) == said


def test_left_counts_trials_and_cells():
    assert left(STATE) == (4, 6)


def job(number=3):
    return Job("full", 0, SimpleNamespace(), SimpleNamespace(), Path("log"), number)


def play(shown):
    shown.started(job())
    for ordinal, value in enumerate((40.0, float("nan"), 41.5), 1):
        shown.evaluated(job(), ordinal, value)
    shown.ended(job(), Outcome("pruned"))
    shown.started(job(None))
    shown.ended(job(None), Outcome("failed", cause="RuntimeError: broken"))
    shown.progress(STATE)
    shown.waiting(2)
    shown.waiting(2)
    shown.close()


def test_lines(monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr("sys.stderr", out)
    shown = view()
    assert isinstance(shown, Lines)
    play(shown)
    first, second, third, fourth = out.getvalue().splitlines()
    assert first.startswith("full: trial 3  pruned  41.50 ▁█")
    assert second.startswith("full: seed 0  failed: RuntimeError: broken")
    assert third == "4 of 6 done"
    assert fourth == "waiting for 2 trials of another process"


def test_screen():
    out = io.StringIO()
    shown = Screen(Console(file=out, force_terminal=True, width=100))
    shown.started(job())
    shown.evaluated(job(), 1, 40.0)
    shown.evaluated(job(), 2, 41.5)
    shown.progress(STATE)
    shown.close()
    text = out.getvalue()
    for said in ("running", "full: trial 3", "▁█", "best of full: 41.50 (trial 1)", "4/6", "left"):
        assert said in text
    out.truncate(0)
    play(Screen(Console(file=out, force_terminal=True, width=100)))
    assert "full: trial 3  pruned  41.50 ▁█" in out.getvalue()
    assert "waiting for 2 trials of another process" in out.getvalue()

"""A laboratory small enough for tests: a random CLIP trunk, a world of a few people, and the command line."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import indent

from reid_lab import cli
from reid_lab.data.synthetic import vocabulary
from reid_lab.parts import backbones
from reid_lab.parts.towers import ClipConfig, ClipTrunk, TextConfig, VisionConfig
from reid_lab.parts.trunk import TransformerConfig
from reid_lab.parts.vocabulary import clip_tokenizer_files
from reid_lab.seeding import stream
from reid_lab.tracking.journal import Journal
from reid_lab.tracking.records import Record, read
from reid_lab.tracking.runs import RunFolder

ROOT = Path(__file__).parents[1]
IMAGE = (32, 16)
STEPS = 6  # of the spec below: two epochs of 48 pairs, 16 at a time

WORLD = """\
preset: smoke
roles: [rgb, caption]
train_identities: 24
val_identities: 6
test_identities: 6
train_images: 2
eval_images: 2
image_size: [32, 16]
"""
SPEC = """\
name: tiny
description: IRRA on a world of 36 people, in seconds
data:
  name: synthetic
WORLD
model:
  name: irra
  backbone: BACKBONE
  mlm: {depth: 1}
train:
  length: {epochs: 2}
  batch: {size: 16}
  augment: {pad: 2}
  optimizer: {lr: 1.0e-4, eps: 1.0e-3}
eval: {every: {epochs: 1}, batch: 16}
runtime: {threads: 1, device: cpu}
tracking: {uri: "off", log_every: 1, images: 0}
"""


def write_clip(folder: Path) -> Path:
    """A CLIP trunk with random weights of a fixed seed, 32 wide, that knows all words of the captions."""
    files = clip_tokenizer_files(vocabulary(), 32)
    vision = VisionConfig(TransformerConfig(32, 2, 2, 64, "quick_gelu"), 8, 4)
    text = TextConfig(TransformerConfig(24, 2, 2, 48, "quick_gelu"), len(json.loads(files["vocab.json"])), 32)
    with stream(0, "fixture"):
        trunk = ClipTrunk(ClipConfig(vision, text, 16), IMAGE)
    backbones.write_clip_folder(folder, trunk, files)
    return folder


@dataclass(frozen=True)
class Outcome:
    """What a command said: its exit code, and the lines on stdout and stderr."""

    code: int
    out: list[str]
    err: list[str]

    @property
    def complaints(self) -> list[str]:
        """The lines that are addressed to the user (progress goes to stderr, too)."""
        return [line for line in self.err if line.startswith("reid-lab: ")]


@dataclass
class Lab:
    """A folder with an experiment file and its runs; commands are given here or to a process of their own."""

    folder: Path
    clip: Path
    cache: Path
    file: Path = field(init=False)
    runs: Path = field(init=False)

    def __post_init__(self) -> None:
        self.file = self.folder / "tiny.yaml"
        spec = SPEC.replace("WORLD", indent(WORLD, "  ")).replace("BACKBONE", str(self.clip))
        self.file.write_text(spec)
        self.runs = self.folder / "runs"

    def call(self, *arguments: str) -> Outcome:
        """`reid-lab ARGUMENTS` in this process."""
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                cli.main(arguments)
            except SystemExit as exited:
                code = int(exited.code or 0)
        return Outcome(code, out.getvalue().splitlines(), err.getvalue().splitlines())

    def line(self, *sets: str, options: Sequence[str] = ()) -> list[str]:
        """The arguments of `run` with these overrides."""
        chosen = [word for value in sets for word in ("--set", value)]
        return ["run", str(self.file), *chosen, *options, "--runs", str(self.runs)]

    def run(self, *sets: str, options: Sequence[str] = ()) -> Outcome:
        """`reid-lab run` of the file with these overrides, in this process."""
        return self.call(*self.line(*sets, options=options))

    def written(self, pixels: str) -> Path:
        """The world of the file as a CUHK-PEDES folder."""
        folder = self.folder / pixels
        sets = [word for line in WORLD.splitlines() for word in ("--set", line.replace(": ", "=", 1))]
        made = self.call("data", "make", "cuhk_pedes", str(folder), "--pixels", pixels, *sets)
        assert made.code == 0, made.err
        return folder

    def evaluate(self, run: RunFolder, *sets: str) -> Outcome:
        """`reid-lab evaluate` of a run with these overrides, in this process."""
        chosen = [word for value in sets for word in ("--set", value)]
        return self.call("evaluate", run.run_id, *chosen, "--runs", str(self.runs))

    @property
    def environment(self) -> Mapping[str, str]:
        """That of a process of its own."""
        return {**os.environ, "REID_LAB_CACHE": str(self.cache), "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

    def start(self, *sets: str, options: Sequence[str] = (), before: Sequence[str] = ()) -> subprocess.Popen[str]:
        """The same run in a process of its own; `before` stands between python and `-m reid_lab`."""
        return subprocess.Popen(
            [sys.executable, *before, "-m", "reid_lab", *self.line(*sets, options=options)],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def folders(self) -> list[RunFolder]:
        """All runs here, by attempt and id."""
        found = [RunFolder(path.parent) for path in self.runs.glob("*/journal.jsonl")]
        return sorted(found, key=lambda folder: (folder.attempt, folder.run_id))

    @property
    def only(self) -> RunFolder:
        """The one run there is."""
        (folder,) = self.folders()
        return folder


def records(folder: RunFolder, kind: str | None = None) -> list[Record]:
    """The journal's records, of one kind or all."""
    return [record for record, _ in read(folder.journal) if kind is None or record.kind == kind]


def results(folder: RunFolder) -> list[str]:
    """The journal's results without times, as `Journal.result_records` gives them."""
    with Journal(folder.journal, strict=True) as journal:
        return journal.result_records()


def losses(folder: RunFolder) -> dict[tuple[str, int], float]:
    """Every recorded loss by name and step."""
    return {(record.name, record.step): record.value for record in records(folder, "loss")}


def status(folder: RunFolder) -> tuple[str, str]:
    """How the last process left the run, and why."""
    last = records(folder, "stop")[-1].value
    return last["status"], last["reason"]

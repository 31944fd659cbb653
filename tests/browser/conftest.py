"""One laboratory of written runs, one mlflow server over it and one browser for all tests of the room (of one worker).

The runs are written through the journal, as the engine writes them, and mirrored; nothing is trained. Screenshots lie
in `.pytest_artifacts/browser/` of the folder from which the tests are started.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from reid_lab.data.ranked import ranked_list
from reid_lab.tracking.arms import ArmBook
from reid_lab.tracking.journal import Journal
from reid_lab.tracking.members import Member, enter
from reid_lab.tracking.mirror import sync
from reid_lab.tracking.mlflow_store import Store
from reid_lab.tracking.pages import pages
from reid_lab.tracking.records import sha256

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",  # in a container it is small
]
SCREENSHOTS = Path(".pytest_artifacts") / "browser"
EXPERIMENT, STUDY, ARMS = "irra", "irra_ablation", ("full", "no_mlm")
SEEDS = [f"{seed:012x}-1" for seed in (161, 162, 163)]


def pytest_collection_modifyitems(items):
    """Every test here drives a browser."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("browser")


def write_run(runs: Path, number: int, *, rate: float, seed: int = 0, member: Member | None = None, quality: float):
    """A finished run of 40 steps: falling losses, four evaluations, a checkpoint, one ranked list, the test."""
    folder = runs / f"{number:012x}-1"
    noise = np.random.default_rng(number)
    with Journal(folder / "journal.jsonl", strict=True) as journal:
        journal.start(
            run_id=folder.name,
            experiment=EXPERIMENT,
            run_name=f"{EXPERIMENT} seed {seed}",
            tags={"reid_lab.seed": str(seed)},
            description="**IRRA**, written for a test",
        )
        if member is not None:
            enter(journal, member)
        for name, value in {"seed": seed, "train.optimizer.lr": rate, "train.batch.size": 16}.items():
            journal.record("param", name, 0, value)
        journal.record("input", "synthetic", 0, {"digest": "d" * 64})
        for step in range(40):
            journal.record("loss", "loss/sdm", step, 3 * 0.95**step + 0.1 * float(noise.random()))
            journal.record("lr", "head", step, rate)
            if step % 10 == 9:
                for name, top in (("mAP", 40), ("R1", 50)):
                    journal.record("val", f"val/{name}", step, top * quality * (step + 1) / 40)
        save_file({"weight": torch.ones(4, 4) * number}, folder / "best.safetensors")
        value = {"path": "best.safetensors", "sha256": sha256(folder / "best.safetensors")}
        journal.record("checkpoint", "best", 39, value)
        pixels = noise.integers(0, 255, (6, 3, 32, 16), dtype=np.uint8)
        picture = ranked_list(
            "a man in a red coat", [], pixels, [True, False, True, False, False, True], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4]
        )
        picture.save(folder / "ranking_0.png")
        journal.artifact("images/ranking_0.png", folder / "ranking_0.png", step=39)
        for name, top in (("mAP", 38), ("R1", 48), ("R5", 70), ("R10", 80), ("mINP", 20)):
            journal.record("test", f"test/{name}", 39, top * quality)
        journal.stop("finished", step=39)


@dataclass(frozen=True)
class Site:
    """Where the mirrored laboratory is served, and what the command printed."""

    runs: Path
    base: str
    printed: list[str]

    def url(self, what: str, *words: str, studies: tuple[str, ...] = ()) -> str:
        """The link of this name among those of a selection."""
        found = {page.what: page.url for page in pages(self.runs, Store.of(self.runs), self.base, words, studies)}
        return found[what]


@pytest.fixture(scope="session")
def laboratory(tmp_path_factory):
    """Three seeds of one experiment; a study of two arms, each with two trials and two cells."""
    runs = tmp_path_factory.mktemp("browser") / "runs"
    for seed, number in enumerate((161, 162, 163)):
        write_run(runs, number, rate=1e-5 * (seed + 1), seed=seed, quality=0.8 + 0.1 * seed)
    for index, arm in enumerate(ARMS):
        patch = {"model.mlm": None} if index else {"model.mlm.depth": 4}
        book = ArmBook(runs, STUDY, arm, key=f"{index}" * 64, experiment=EXPERIMENT, params=patch, uri="off")
        for trial in range(2):
            number = 256 + 16 * index + trial
            member = Member(STUDY, arm, book.id, trial=trial)
            write_run(runs, number, rate=1e-4 * (trial + 1), member=member, quality=0.5 + 0.1 * trial)
            book.best(trial, {"mAP": 20.0 + trial})
        for seed in range(2):
            member = Member(STUDY, arm, book.id)
            write_run(runs, 264 + 16 * index + seed, rate=2e-4, seed=seed, member=member, quality=0.7 - 0.1 * index)
        book.measured(2, {"mAP": 26.0 - 4 * index})
        book.stop("finished")
        book.close()
    assert [sent.problem for sent in sync(runs)] == [None] * 13
    return runs


@pytest.fixture(scope="session")
def site(laboratory):
    """The laboratory as `reid-lab ui` serves it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["ui", STUDY, "--port", str(port), "--runs", str(laboratory)]
    served = subprocess.Popen([sys.executable, "-m", "reid_lab", *command], stdout=subprocess.PIPE, text=True)
    printed = []
    try:
        for line in served.stdout:
            if line.startswith("Ctrl-C"):
                break
            printed.append(line.rstrip())
        assert served.poll() is None
        yield Site(laboratory, f"http://127.0.0.1:{port}", printed)
    finally:
        served.terminate()
        served.wait(30)


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium, started with an empty profile."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if not CHROMIUM.is_file():
        pytest.skip(f"{CHROMIUM} is not installed")
    with playwright.sync_playwright() as engine:
        started = engine.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture
def left():
    """The addresses of requests that would have left the machine."""
    return []


@pytest.fixture
def page(browser, request, left):
    """A page of a new profile, photographed at the end; a request that leaves the machine fails the test."""
    context = browser.new_context(viewport={"width": 1600, "height": 1000})
    context.set_default_timeout(30_000)

    def judge(route):
        host = urlsplit(route.request.url).hostname
        if host in ("127.0.0.1", "localhost", None):
            route.continue_()
        else:
            left.append(route.request.url)
            route.abort()

    context.route("**/*", judge)
    shown = context.new_page()
    yield shown
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    shown.screenshot(path=SCREENSHOTS / f"{request.node.name.removeprefix('test_')}.png")
    context.close()
    assert left == [], "requests left the machine"

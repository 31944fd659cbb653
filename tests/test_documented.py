"""What README and docs tell: every command parses, every file that is named or linked is there."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import typer.main
import yaml
from typer.exceptions import TyperException

from reid_lab import cli
from reid_lab.architectures import ARCHITECTURES

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FOLDERS = ("benchmarks", "docs", "experiments", "notebooks", "reid_lab", "studies", "tests")
NAMED = re.compile(rf"(?<![\w/.~-])((?:{'|'.join(FOLDERS)})/[\w/.-]+\.(?:yaml|py|md|ipynb|png))\b")
PLACEHOLDER = re.compile(r"\b(NAME|NNNN|SOURCE)\b")


class Told(NamedTuple):
    """A command as a page tells it. whole: it stands on a line of its own, so that nothing is left out."""

    page: str
    line: int
    words: list[str]
    whole: bool


def told(page_text: str, page: str) -> Iterator[Told]:
    """The commands of a page: lines of code blocks, and code within sentences."""
    fenced = False
    for number, line in enumerate(page_text.splitlines(), 1):
        if line.startswith("```"):
            fenced = not fenced
            continue
        code = line.strip() if fenced or line.startswith("    ") else ""
        found = [(code, True)] if code else [(part, False) for part in re.findall(r"`([^`]+)`", line)]
        for part, block in found:
            for command in re.split(r"\s(?:&&|\|)\s", part):
                match = re.match(
                    r"(?:[A-Z_]+=\S+ )*(?:torchrun .* -m reid_lab|(?:python -m )?reid[-_]lab)(?: (.*))?$", command
                )
                if match and match[1]:
                    text = re.sub(
                        r"\[(-[^\[\]]*)\]", r"\1", re.split(r"\s>\s", match[1])[0]
                    )  # [--what may be left out]
                    words = shlex.split(text, comments=True)
                    yield Told(page, number, words, block and "…" not in command)


def every() -> list[Told]:
    return [one for page in PAGES for one in told(page.read_text(encoding="utf-8"), str(page.relative_to(ROOT)))]


def resolved(words: list[str], *, bare: bool):
    """The command that the words begin with, and the rest of them. bare: a group alone will do."""
    command, rest = typer.main.get_command(cli.app), list(words)
    while hasattr(command, "commands"):
        known = command.commands
        if rest and rest[0] in known:
            command = known[rest.pop(0)]
        elif "drive" in known and rest and not rest[0].startswith("-"):
            command = known["drive"]  # `study FILE`
        elif getattr(command, "invoke_without_command", False) or (bare and not rest):
            break
        else:
            raise AssertionError(f"no command '{' '.join(rest) or words}'; there are {', '.join(known)}")
    return command, rest


def fault(one: Told) -> str:
    """What is wrong with a command; empty when it parses."""
    try:
        if not one.whole and (one.words == ["--help"] or one.words[0].startswith(("…", "-"))):
            return ""
        command, rest = resolved(one.words, bare=not one.whole)
        if one.whole:
            command.make_context("reid-lab", rest)
        known = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
        strange = [word for word in rest if word.startswith("--") and word.partition("=")[0] not in {*known, "--help"}]
        assert not strange, f"no option {', '.join(strange)}"
    except (AssertionError, TyperException) as error:
        return f"{one.page}:{one.line}: reid-lab {' '.join(one.words)}: {error}"
    return ""


def test_there_are_commands_on_many_pages():
    found = every()
    assert len(found) > 80
    assert len({one.page for one in found}) > 8
    assert sum(one.whole for one in found) > 50


def test_every_command_that_is_told_parses():
    faults = [what for one in every() if (what := fault(one))]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize(
    "text",
    [
        "    reid-lab rnu experiments/irra.yaml",
        "    reid-lab run experiments/irra.yaml --sed 1",
        "    reid-lab run",
        "```\nreid-lab list architecture\n```",
        "see `reid-lab compare … --formt latex`",
        "    torchrun --nproc-per-node 2 -m reid_lab run a.yaml --seeds 1",
        "    reid-lab show a.yaml && reid-lab evaluate --tops 3",
        "    reid-lab study a.yaml --trial 3",
    ],
)
def test_a_command_that_is_not_there_is_found(text):
    assert any(fault(one) for one in told(text, "page"))


def test_every_file_that_is_named_is_there():
    missing = []
    for page in PAGES:
        for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
            for name in NAMED.findall(line):
                if not (ROOT / name).exists() and not PLACEHOLDER.search(name):
                    missing.append(f"{page.relative_to(ROOT)}:{number}: {name}")
    assert not missing, "\n".join(missing)


def test_every_link_leads_somewhere():
    missing = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)):
            if target.startswith(("http://", "https://", "mailto:")):
                continue
            file, _, anchor = target.partition("#")
            place = page.parent / file if file else page
            if not place.exists():
                missing.append(f"{page.relative_to(ROOT)}: {target}")
            elif anchor and anchor not in anchors(place.read_text(encoding="utf-8")):
                missing.append(f"{page.relative_to(ROOT)}: {target} (no such heading)")
    assert not missing, "\n".join(missing)


def test_the_numbers_of_the_readme_are_those_of_the_results_and_of_the_papers():
    results = re.sub(r"\b0\.", ".", (ROOT / "docs" / "results.md").read_text(encoding="utf-8"))
    published = [
        yaml.safe_load(file.read_text(encoding="utf-8")) for file in (ROOT / "experiments/paper").glob("*.yaml")
    ]
    numbers = {str(n) for spec in published for one in spec.get("published", ()) for n in one["metrics"].values()}
    rows = [line.split("|")[1:-1] for line in PAGES[0].read_text(encoding="utf-8").splitlines() if " ± ." in line]
    assert len(rows) == len(ARCHITECTURES)
    assert {cells[0].split("/")[-1].removesuffix(".md) ") for cells in rows} == set(ARCHITECTURES)
    for _, _, *embedded, paper in rows:
        measured = re.findall(r"-?[\d.]+ ± [\d.]+", " ".join(embedded))
        assert len(measured) >= 3
        assert [told for told in measured if told not in results] == []
        assert [told for told in re.findall(r"\d+\.\d+", paper) if told not in numbers] == []
        assert re.search(r"\d+\.\d+", paper) or paper.strip().startswith("nothing")


def test_the_floors_that_are_told_are_those_that_are_checked():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = [one["layers"] for one in contracts if one["type"] == "layers"]
    told = re.search(r"Imports go down only: (.*?)\. Rooms", PAGES[1].read_text(encoding="utf-8"), re.DOTALL)
    assert told
    assert ["__main__", *(floor.strip("`") for floor in re.split(r"\s→\s", told[1]))] == layers


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}

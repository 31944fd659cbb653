"""Which code differs: files by their digests, lines by git where it knows the recorded commit.

Only the modules that a run can import count. A change of comments, docstrings or layout is no difference.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import final

from reid_lab.reproducing.differences import Difference, Findings, few
from reid_lab.tracking.provenance import PACKAGE, sources

MOST = 30
"""Modules whose changed line is told; the names of more follow."""


@final
class Checkout:
    """The package as it is, and as git remembers it: the recorded commit with the recorded changes.

    commit: empty where none was recorded. changes: the text of `git diff HEAD`, as it was recorded.
    """

    def __init__(self, commit: str, changes: str, package: Path = PACKAGE) -> None:
        self.package, self.root, self.commit, self.changes = package, package.parent, commit, changes
        inside = _git(self.root, "rev-parse", "--show-prefix") if commit else None
        self.known = inside is not None and _git(self.root, "cat-file", "-e", f"{commit}^{{commit}}") is not None
        self.head = (_git(self.root, "rev-parse", "HEAD") or "").strip()
        self._inside = (inside or "").strip()

    def changed(self) -> list[str]:
        """The modules that differ from the recorded commit and its changes, in either."""
        told = _git(self.root, "diff", "--name-only", self.commit, "--", self.package.name) or ""
        names = {line.removeprefix(self._inside) for line in told.splitlines()}
        beside = [
            line[6:].split("\t")[0] for line in self.changes.splitlines() if line.startswith(("+++ b/", "--- a/"))
        ]
        names |= {name.removeprefix(self._inside) for name in beside}
        names = {name for name in names if name.endswith(".py") and name.startswith(f"{self.package.name}/")}
        return sorted(name for name in names if self.recorded(name) != self.now(name))

    def recorded(self, path: str) -> str | None:
        """The text of a module as it was recorded; None where git does not know it."""
        if not self.known:
            return None
        text = _git(self.root, "show", f"{self.commit}:{self._inside}{path}")
        whole = f"{self._inside}{path}"
        if f"b/{whole}\n" not in self.changes and f"a/{whole}\n" not in self.changes:
            return text
        with tempfile.TemporaryDirectory() as name:
            file, patch = Path(name) / whole, Path(name) / "changes.diff"
            file.parent.mkdir(parents=True)
            if text is not None:
                file.write_bytes(text.encode())
            patch.write_bytes(self.changes.encode())
            done = _git(Path(name), "apply", f"--include={whole}", str(patch))
            return None if done is None or not file.exists() else file.read_bytes().decode()

    def now(self, path: str) -> str | None:
        """The text of a module as it is; None where it is not there."""
        file = self.root / path
        return file.read_bytes().decode() if file.is_file() else None


def compare(found: Findings, held: Mapping[str, str], checkout: Checkout, starts: Sequence[str]) -> None:
    """Adds what differs in the code.

    Args:
        found: takes the differences.
        held: path of each module -> sha256, as recorded; empty for runs that recorded none.
        checkout: what git knows.
        starts: the modules from which a run's imports are followed, such as `reid_lab.experiment`.
    """
    now = sources(checkout.package)
    if held:
        changed = sorted(path for path in held.keys() | now.keys() if held.get(path) != now.get(path))
    elif checkout.known:
        changed = checkout.changed()
    else:
        commit = checkout.commit[:12] or "none"
        found.differences.append(Difference("code", f"the code of commit {commit} is not known here"))
        return
    if not changed:
        return
    used = imported(starts, checkout.package)
    beside = [path for path in changed if path not in used]  # one that is gone was imported by one that changed
    plain, new, told = [], [], []
    for path in (path for path in changed if path in used):
        before, after = checkout.recorded(path), checkout.now(path)
        if before is not None and held and hashlib.sha256(before.encode()).hexdigest() != held.get(path):
            before = None  # what git can tell is not what was run
        if held.get(path) is None if held else before is None:
            new.append(path)
        elif before is None or after is None:
            told.append(f"{path} differs (git does not know the recorded lines)")
        elif _same_program(before, after):
            plain.append(path)
        else:
            told.append(f"{path}{_lines(before, after)}")
    if len(told) > MOST:
        told[MOST:] = [f"{len(told) - MOST} more modules: {', '.join(line.split(':')[0] for line in told[MOST:])}"]
    if new:
        told.append(f"new modules: {', '.join(new)}")
    found.differences += [Difference("code", line) for line in told]
    if told and checkout.known:
        found.notes.append(f"the code was that of commit {checkout.commit[:12]}, and is that of {checkout.head[:12]}")
    if beside:
        found.notes.append(f"code that this run does not import differs: {few(beside)}")
    if plain:
        found.notes.append(f"comments, docstrings or layout alone differ: {few(plain)}")


def imported(starts: Iterable[str], package: Path = PACKAGE) -> set[str]:
    """The paths of all modules of the package that these modules import, at the top or in a function."""
    root, waiting, known = package.parent, list(starts), set[str]()
    while waiting:
        name = waiting.pop()
        if name == package.name:
            continue  # it hands out everything for notebooks, and computes nothing
        path = next((p for p in _places(name) if (root / p).is_file()), None)
        if path is None or path in known:
            continue
        known.add(path)
        waiting += [name.rpartition(".")[0]] if "." in name else []
        for node in ast.walk(ast.parse((root / path).read_bytes())):
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return known


def _places(module: str) -> tuple[str, str]:
    path = module.replace(".", "/")
    return f"{path}.py", f"{path}/__init__.py"


def _same_program(before: str, after: str) -> bool:
    try:
        return _bare(before) == _bare(after)
    except SyntaxError:
        return False


def _bare(text: str) -> str:
    """A module's program without its docstrings."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = node.body[1:]
    return ast.dump(tree)


def _lines(before: str, after: str) -> str:
    """The first line that differs, and how many do."""
    old, new = before.splitlines(), after.splitlines()
    parts = [
        part for part in difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes() if part[0] != "equal"
    ]
    _, a, b, c, d = parts[0]
    was, now = " ".join("\n".join(old[a:b]).split()), " ".join("\n".join(new[c:d]).split())
    count = sum(max(b - a, d - c) for _, a, b, c, d in parts)
    more = "" if count == 1 else f" ({count} lines in all)"
    if not was or not now:
        return f":{c + 1}: {'added' if now else 'removed'} '{_cut(now or was)}'{more}"
    return f":{c + 1}: was '{_cut(was)}', is '{_cut(now)}'{more}"


def _cut(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:79]}…"


def _git(folder: Path, *arguments: str) -> str | None:
    """What git says, without translating line ends; None where it fails."""
    try:
        done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace") if done.returncode == 0 else None

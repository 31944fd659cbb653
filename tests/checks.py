"""Every check of the project, as `./run test [--all]` runs them; prints one line each and a table.

python tests/checks.py [--all] [pytest arguments]
"""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent
STATIC = {
    "format": ["ruff", "format", "--check", "."],
    "lint": ["ruff", "check", "."],
    "floors": ["lint-imports", "--no-logo"],
    "types": ["mypy"],
}


def check(name: str, command: list[str], *, quiet: bool) -> tuple[str, bool, float]:
    """Runs one check; output is shown when it is not quiet or when it fails."""
    start = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=quiet, text=True)
    seconds = time.monotonic() - start
    print(f"check {name}: {'ok' if done.returncode == 0 else 'FAILED'} ({seconds:.0f} s)", flush=True)
    if quiet and done.returncode != 0:
        print(done.stdout, done.stderr, sep="\n", flush=True)
    return name, done.returncode == 0, seconds


def main() -> int:
    """Runs all checks, the tests last; exit code 1 when one fails."""
    arguments = sys.argv[1:]
    select = [] if "--all" in arguments else ["-m", "not slow"]
    arguments = [a for a in arguments if a != "--all"]
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda item: check(*item, quiet=True), STATIC.items()))
    tests = [sys.executable, "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", *select, *arguments]
    results.append(check("tests and notebooks", tests, quiet=False))
    failed = [name for name, ok, _ in results if not ok]
    print(
        f"checks: {len(results) - len(failed)} passed, {len(failed)} failed"
        + (f": {', '.join(failed)}" if failed else "")
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

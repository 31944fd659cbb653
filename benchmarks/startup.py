"""How long `reid-lab --help` takes, beside importing typer alone and starting Python at all.

    python benchmarks/startup.py [--repeat 10]

Prints the median wall and processor time of a fresh process, and the ratio to importing typer.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "python -c 'import typer'": ["-c", "import typer"],
    "reid-lab --help": ["-m", "reid_lab", "--help"],
    "reid-lab list experiments": ["-m", "reid_lab", "list", "experiments"],
}


def processor() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def measure(arguments: list[str], repeat: int) -> tuple[float, float]:
    """Median wall and processor time in seconds; the first start, which fills the file cache, is left out."""
    walls, busy = [], []
    for _ in range(repeat + 1):
        begin, used = time.perf_counter(), processor()
        subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
        walls.append(time.perf_counter() - begin)
        busy.append(processor() - used)
    return statistics.median(walls[1:]), statistics.median(busy[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=10)
    repeat = parser.parse_args().repeat
    found = {name: measure(arguments, repeat) for name, arguments in COMMANDS.items()}
    base = found["python -c 'import typer'"]
    print("| command | wall s | processor s | x typer |")
    print("|---|---:|---:|---:|")
    for name, (wall, used) in found.items():
        print(f"| `{name}` | {wall:.3f} | {used:.3f} | {used / base[1]:.2f} |")


if __name__ == "__main__":
    main()

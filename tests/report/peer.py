"""What ranx, a peer of retrieval research, says of the same queries: `python tests/report/peer.py` asks it.

It brings hundreds of megabytes of packages, so its answers are kept in tests/golden/ranx.json, where ours are compared
with them in any environment.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parents[1] / "golden" / "ranx.json"
PERMUTATIONS = 100_000


def cases():
    """Average precisions of two systems on the same queries."""
    random = np.random.default_rng(2026)
    for queries, gain in ((30, 0.0), (30, 0.1), (80, 0.03), (80, 0.08), (200, 0.02)):
        base = random.uniform(0.1, 0.9, queries).round(4)
        yield base.tolist(), (base + random.normal(gain, 0.2, queries)).clip(0, 1).round(4).tolist()


def main() -> None:
    """Asks ranx and writes its answers down."""
    from ranx.statistical_tests import fisher_randomization_test, paired_student_t_test

    found = []
    for base, other in cases():
        first, second = np.array(base), np.array(other)
        fisher = fisher_randomization_test(first, second, n_permutations=PERMUTATIONS)[0]
        student = paired_student_t_test(first, second)[0]
        found.append({"base": base, "other": other, "fisher": float(fisher), "student": float(student)})
    told = {"ranx": version("ranx"), "permutations": PERMUTATIONS, "cases": found}
    GOLDEN.write_text(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()

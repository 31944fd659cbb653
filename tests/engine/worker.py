"""Trains toys in a process of its own: `python -m tests.engine.worker FOLDER KIND…`, also under torchrun.

Each KIND is an architecture's name, `:` and the number of micro-batches; WORKER_STEPS the number of steps.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from reid_lab.engine.runtime import Runtime
from reid_lab.errors import UserError
from tests.engine.toys import DiskRecorder, train


def main() -> int:
    folder = Path(sys.argv[1])
    runtime = Runtime.start("cpu", threads=1)
    try:
        for name in sys.argv[2:]:
            kind, _, accumulate = name.partition(":")
            out = folder / name.replace(":", "-")
            out.mkdir(exist_ok=True, parents=True)
            recorder = DiskRecorder(out / "records.jsonl") if runtime.is_main else DiskRecorder()
            train(
                out / "checkpoints",
                kind,
                runtime=runtime,
                recorder=recorder,
                accumulate=int(accumulate),
                steps=int(os.environ["WORKER_STEPS"]),
                options={} if kind == "contrastive" else {"dropout": 0.2},
            )
    except UserError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    finally:
        runtime.close()
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # as the command line of a rank does: gloo's threads may outlive the interpreter and abort it

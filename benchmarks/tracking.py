"""What tracking costs a training run: time on the training thread, CPU of the mirror's thread.

    python benchmarks/tracking.py [--seconds 180]

A small network trains on one thread in steps of about 100 ms; every 10 steps 20 values are recorded
and every 200 steps the journal is flushed, as the engine does. Each scenario is a process of its own:
the default SQLite file, a server, a server killed in the middle, no server at all. Limits: tracking
calls below 1% of training time, the mirror's thread below 3% of one core. Its first contact (importing
mlflow, opening the store; once a run) is shown apart and included in `all`.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CALLS, MIRROR = 1.0, 3.0  # limits in percent


def thread_seconds(thread: int) -> float:
    """CPU seconds of one thread of this process."""
    return int(Path(f"/proc/self/task/{thread}/schedstat").read_text().split()[0]) / 1e9


def train(uri: str, runs: Path, seconds: float) -> dict[str, float | int | str]:
    """Train for `seconds` with the journal and its mirror; what they cost."""
    import torch

    from reid_lab.tracking import Journal, Mirror, Store

    torch.manual_seed(0)
    torch.set_num_threads(1)
    layer = torch.nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, batch_first=True)
    model = torch.nn.Sequential(torch.nn.TransformerEncoder(layer, 2, enable_nested_tensor=False))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    tokens = torch.randn(16, 64, 128)

    def step() -> float:
        optimizer.zero_grad()
        loss = model(tokens).square().mean()
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    for _ in range(3):
        step()
    began = time.perf_counter()
    step()
    repeats = max(1, round(0.1 / (time.perf_counter() - began)))

    tracking = 0.0
    began = time.perf_counter()
    with Journal(runs / "bench-1" / "journal.jsonl", strict=True) as journal:
        journal.start(run_id="bench-1", experiment="benchmark", run_name="benchmark")
        mirror = Mirror(journal, Store.of(runs, uri or None))
        tracking += time.perf_counter() - began
        begin, number, first = time.perf_counter(), 0, None
        while time.perf_counter() - begin < seconds:
            for _ in range(repeats):
                loss = step()
            number += 1
            before = time.perf_counter()
            if number % 10 == 0:
                for i in range(20):
                    journal.record("loss", f"term{i}", number, loss + i)
            if number % 200 == 0:
                journal.flush()
            tracking += time.perf_counter() - before
            if first is None and (mirror.location or mirror.problem):
                first = (thread_seconds(mirror.thread_id), time.perf_counter() - begin)
        spent = time.perf_counter() - begin
        cpu = thread_seconds(mirror.thread_id)
        contact, when = first or (cpu, spent)
        before = time.perf_counter()
        journal.stop("finished", step=number)
        complete = mirror.close(30)
    return {
        "steps": number,
        "step_ms": 1000 * spent / number,
        "calls": 100 * tracking / spent,
        "contact_s": contact,
        "steady": 100 * (cpu - contact) / (spent - when) if spent > when else 0.0,
        "all": 100 * cpu / spent,
        "close_s": time.perf_counter() - before,
        "complete": "yes" if complete else "sync",
    }


def scenario(name: str, seconds: float) -> dict[str, float | int | str]:
    """Run one scenario in a process of its own."""
    from reid_lab.tracking import Store, sync
    from reid_lab.tracking.ui import Server

    with tempfile.TemporaryDirectory() as folder:
        runs, server, uri = Path(folder) / "runs", None, ""
        if name != "SQLite file":
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            uri = f"http://127.0.0.1:{port}"
            if name != "server absent":
                server = Server(Store.of(Path(folder) / "server"), port)
                server.start()
        command = [sys.executable, __file__, "--child", uri, "--runs", str(runs), "--seconds", str(seconds)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        if server and name == "server killed":
            time.sleep(seconds / 2)
            server.stop()
        row = json.loads(child.communicate()[0])
        if name == "server killed":
            server.start()
            (sent,) = sync(runs, uri=uri)
            row["complete"] = f"after sync of {sent.records}" if sent.problem is None else sent.problem
        if server:
            server.stop()
        return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=180.0, help="training time of each scenario")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--runs", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child is not None:
        print(json.dumps(train(given.child, given.runs, given.seconds)))
        return 0
    print(f"{given.seconds:.0f} s of training a scenario, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print("| scenario | steps | step ms | calls % | mirror % | contact s | all % | close s | complete |")
    print("|---|---|---|---|---|---|---|---|---|")
    good = True
    for name in ("SQLite file", "server up", "server killed", "server absent"):
        row = scenario(name, given.seconds)
        print(
            f"| {name} | {row['steps']} | {row['step_ms']:.0f} | {row['calls']:.3f} | {row['steady']:.2f} "
            f"| {row['contact_s']:.2f} | {row['all']:.2f} | {row['close_s']:.1f} | {row['complete']} |",
            flush=True,
        )
        good &= row["calls"] < CALLS and row["all"] < MIRROR
    print("within the limits" if good else f"OVER the limits of {CALLS}% (calls) or {MIRROR}% (all)")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

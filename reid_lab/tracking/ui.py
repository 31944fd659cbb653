"""mlflow's own pages over the mirrored runs: a server on loopback, deep links, saved views.

A first visit of a page without `workflowType=machine_learning` hides the runs, so every link has it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

from reid_lab.errors import Fault, UserError, unknown
from reid_lab.tracking.mirror import journals
from reid_lab.tracking.mlflow_store import ENVIRONMENT, Location, Store, server_command
from reid_lab.tracking.replay import Progress
from reid_lab.tracking.workspace import WORKSPACE, apply_workspace, share_key

PORT = 5000
_TYPE = "workflowType=machine_learning"


def experiment_link(base: str, experiment_id: str, view: str | None = None) -> str:
    """The table of an experiment's runs, in a saved view if one is named."""
    saved = f"&viewStateShareKey={share_key(view)}" if view else ""
    return f"{base}/#/experiments/{quote(experiment_id, safe='')}/runs?{_TYPE}{saved}"


def link(base: str, at: Location) -> str:
    """The page of one run."""
    return f"{base}/#/experiments/{quote(at.experiment, safe='')}/runs/{quote(at.run, safe='')}?{_TYPE}"


def compare_link(base: str, at: Sequence[Location]) -> str:
    """The charts of the chosen runs side by side, also across experiments."""
    runs = ",".join(f"'{a.run}'" for a in at)
    charts = f"{_TYPE}&compareRunsMode=CHART&searchFilter={quote(f'attributes.run_id IN ({runs})', safe='')}"
    experiments = sorted({a.experiment for a in at})
    if len(experiments) == 1:
        return f"{base}/#/experiments/{quote(experiments[0], safe='')}/runs?{charts}"
    listed = quote(json.dumps(experiments, separators=(",", ":")), safe="")
    return f"{base}/#/compare-experiments/s?experiments={listed}&{charts}"


def base_url(store: Store, port: int = PORT) -> str:
    """Where the pages of a store are: the server itself, or the one that `open_ui` starts on loopback."""
    return store.shown_uri if store.is_server else f"http://127.0.0.1:{port}"


def run_link(runs: Path, run_id: str, uri: str | None = None, port: int = PORT) -> str | None:
    """The page of one run, without asking mlflow; None while the run is not mirrored."""
    store = Store.of(runs, uri)
    at = Progress(runs / run_id, store).at
    return link(base_url(store, port), at) if at else None


class Server:
    """An mlflow server over a local store, on loopback, as a context: `with Server(store) as base: …`.

    Entering waits until it answers; leaving stops it. Its output goes to `mlflow-server.log` beside
    the artifacts. Raises `UserError` when the port is taken or the server does not start.
    """

    def __init__(self, store: Store, port: int = PORT, *, patience: float = 90.0) -> None:
        self.store, self.port, self.patience = store, port, patience
        self.log = store.artifacts.parent / "mlflow-server.log"

    def start(self) -> str:
        """Start, wait until it answers, and give its address; again after `stop`."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port))
            except OSError as error:
                raise UserError(f"port {self.port} is in use; give another one with --port") from error
        self.store.client()  # creates the tables under our lock
        hosts = [f"{name}:{self.port}" for name in ("localhost", "127.0.0.1")]
        environment = {**ENVIRONMENT, **os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                server_command(self.store, "127.0.0.1", self.port, hosts),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C reaches us alone, and we end its workers with it
            )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise
        return f"http://127.0.0.1:{self.port}"

    def _wait(self) -> None:
        from urllib.request import urlopen  # slow to import, and only needed here

        deadline = time.monotonic() + self.patience
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            with (
                contextlib.suppress(OSError),
                urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5),
            ):
                return
            time.sleep(0.2)
        raise UserError(Fault("the mlflow server does not answer; its output is in this file", str(self.log)))

    def stop(self) -> None:
        """End the server and its workers."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
                if sign == signal.SIGKILL:
                    return

    def __enter__(self) -> str:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def open_ui(
    runs: Path,
    echo: Callable[[str], None],
    *,
    port: int = PORT,
    run_ids: Sequence[str] = (),
    experiment: str | None = None,
    uri: str | None = None,
) -> None:
    """Show the mirrored runs in mlflow: print the link of the chosen runs or experiment, serve until Ctrl-C.

    A store that is a server itself is not served again: its link is printed. Raises `UserError` on
    an unknown run or experiment, a run that is not mirrored yet, or a taken port.
    """
    store = Store.of(runs, uri)
    chosen = _chosen(runs, store, run_ids)
    apply_workspace(store, runs / WORKSPACE)
    page = _page(store, base_url(store, port), chosen, experiment)
    if store.is_server:
        echo(page)
        return
    server = Server(store, port)
    # A server in a session of its own would outlive us when we are told to end.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with server:
        echo(page)
        echo("Ctrl-C stops the server")
        with contextlib.suppress(KeyboardInterrupt):
            server.process.wait()


def _chosen(runs: Path, store: Store, run_ids: Sequence[str]) -> list[Location]:
    found = {name: Progress(folder, store).at for name, folder in journals(runs, list(run_ids)).items()}
    waiting = [name for name, at in found.items() if at is None]
    if waiting:
        raise UserError(*(f"run {name} is not in mlflow yet; `reid-lab sync` sends it" for name in waiting))
    return [at for at in found.values() if at]


def _page(store: Store, base: str, chosen: list[Location], experiment: str | None) -> str:
    if len(chosen) == 1:
        return link(base, chosen[0])
    if chosen:
        return compare_link(base, chosen)
    known = store.experiments()
    if experiment is not None:
        if experiment not in known:
            raise UserError(unknown("experiment", experiment, known))
        return experiment_link(base, known[experiment])
    return f"{base}/#/experiments?{_TYPE}"

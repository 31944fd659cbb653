"""mlflow's own pages over the mirrored runs: a server on loopback, and the links of what is chosen."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from reid_lab.errors import Fault, UserError
from reid_lab.tracking.links import PORT, base_url
from reid_lab.tracking.links import run_link as run_link
from reid_lab.tracking.mirror import journals
from reid_lab.tracking.mlflow_store import ENVIRONMENT, Store, server_command
from reid_lab.tracking.pages import pages
from reid_lab.tracking.workspace import WORKSPACE

_ALWAYS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}


class Server:
    """An mlflow server over a local store, on loopback, as a context: `with Server(store) as base: …`.

    Entering waits until it answers; leaving stops it. Its output goes to `mlflow-server.log` beside
    the artifacts. Raises `UserError` when the port is taken or the server does not start.
    """

    def __init__(self, store: Store, port: int = PORT, *, patience: float = 90.0) -> None:
        self.store, self.port, self.patience = store, port, patience
        self.log = store.artifacts.parent / "mlflow-server.log"

    def check(self) -> None:
        """Raises `UserError` when the port is taken."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", self.port))
            except OSError as error:
                raise UserError(f"port {self.port} is in use; give another one with --port") from error

    def start(self) -> str:
        """Start, wait until it answers, and give its address; again after `stop`."""
        self.check()
        self.store.client()  # creates the tables under our lock
        hosts = [f"{name}:{self.port}" for name in ("localhost", "127.0.0.1")]
        environment = {**ENVIRONMENT, **os.environ, **_ALWAYS}
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
    words: Sequence[str] = (),
    studies: Sequence[str] = (),
    uri: str | None = None,
    browse: Callable[[str], object] | None = None,
) -> None:
    """Show the mirrored runs in mlflow: print the links of a selection (`pages`), serve until Ctrl-C.

    A store that is a server itself is not served again: its links are printed. browse: is handed the first link once
    the server answers. Raises `UserError` on a selection that is not there or not mirrored yet, on a taken port, and
    on a folder of runs that has never tracked anything.
    """
    store = Store.of(runs, uri)
    if uri is None and not any((runs / name).exists() for name in ("mlflow.db", WORKSPACE)) and not journals(runs):
        raise UserError(Fault("no runs here yet; `reid-lab run FILE` makes one", str(runs)))
    server = None if store.is_server else Server(store, port)
    if server is not None:
        server.check()  # before anything is written
    found = pages(runs, store, base_url(store, port), words, studies)

    def tell() -> None:
        width = max(len(page.what) for page in found)
        for page in found:
            echo(f"{page.what:<{width}}  {page.url}")
        if browse is not None:
            browse(found[0].url)

    if server is None:
        tell()
        return
    # A server in a session of its own would outlive us when we are told to end.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt), server:
        tell()
        echo("Ctrl-C stops the server")
        server.process.wait()
        raise UserError(Fault("the mlflow server ended by itself; its output is in this file", str(server.log)))

"""The only door to mlflow: where runs are mirrored to, and how each thing is written exactly once.

Every method may be repeated with the same arguments and then changes nothing. Any exception of
mlflow means: not sent, try again later. mlflow is imported at the first call, not with this module
(it takes over a second of CPU).
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import sys
import tempfile
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit
from urllib.request import url2pathname

from reid_lab.errors import Fault, UserError
from reid_lab.tracking.lock import FileLock

RUN_TAG = "reid_lab.run_id"
STATUS_TAG = "reid_lab.status"
MLFLOW_STATUS = {"running": "RUNNING", "finished": "FINISHED", "failed": "FAILED"}  # all others: KILLED
MAX_PARAM = 6000  # characters; mlflow cuts longer ones off silently
MAX_TAG = 8000

# One short attempt a call: the mirror waits and repeats by itself. Set before mlflow is imported.
ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
}


@dataclass(frozen=True)
class Point:
    """One value of a metric; `time` in milliseconds, as recorded: it is part of mlflow's identity of a point."""

    key: str
    value: float
    time: int
    step: int


@dataclass(frozen=True)
class Location:
    """A mirrored run: the ids of its experiment and of the run itself in mlflow."""

    experiment: str
    run: str


@dataclass
class Chunk:
    """What one request or a few carry: metric points, parameters and tags, already as text."""

    points: list[Point] = field(default_factory=list)
    params: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)


def key(name: str) -> str:
    """`name` as mlflow accepts it for metrics, parameters and images."""
    return re.sub(r"[^\w\-./: ]", "_", name, flags=re.ASCII)[:250]


def store_uri(runs: Path, uri: str | None) -> str:
    """The address behind `tracking.uri`: null is SQLite in the runs folder; SQLite paths become absolute.

    Raises `UserError` on anything but SQLite, another SQLAlchemy database or a server.
    """
    if uri is None:
        return f"sqlite:///{runs.resolve()}/mlflow.db"
    scheme = urlsplit(uri).scheme.split("+")[0]
    if scheme == "sqlite":
        return f"sqlite:///{Path(uri.split(':///', 1)[-1]).expanduser().resolve()}"
    if scheme not in ("http", "https", "postgresql", "mysql", "mssql"):
        allowed = "null, sqlite:///FILE, postgresql://…, mysql://…, mssql://…, http://HOST:PORT, https://HOST"
        raise UserError(Fault(f"no such kind of store '{uri}'; allowed: {allowed}", "tracking.uri"))
    return uri.rstrip("/")


def place(file: Path, target: Path) -> None:
    """Puts a file at `target`, whole or not at all: weights as a hard link, everything else as a copy.

    Weights are large and never written in place, so that one content serves both names, and each outlives the other.
    Across file systems, and where there are no links, they are copied.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        if file.suffix != ".safetensors" or not _linked(file, temporary):
            shutil.copyfile(file, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)  # it is left behind when `target` is a link to the same content already


def _linked(file: Path, new: Path) -> bool:
    try:
        os.link(file.resolve(), new)
    except OSError:
        return False
    return True


def _local(uri: str) -> Path | None:
    """The folder that an artifact address names on this machine; None when it is elsewhere."""
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(url2pathname(parts.path))
    return Path(uri) if not parts.scheme and os.path.isabs(uri) else None


class Store:
    """One mlflow backend. `uri` as `store_uri` gives it; `artifacts`: an absolute folder for artifacts.

    A server keeps artifacts itself, then `artifacts` is not used. Cheap until the first call.
    """

    def __init__(self, uri: str, artifacts: Path) -> None:
        self.uri = uri
        self.artifacts = artifacts.resolve()
        self._client: Any = None

    @classmethod
    def of(cls, runs: Path, uri: str | None = None) -> Store:
        """The store of a runs folder (`runs/mlflow.db`, `runs/artifacts`), or another one by its address."""
        return cls(store_uri(runs, uri), runs / "artifacts")

    @property
    def is_server(self) -> bool:
        """Whether the store is reached over HTTP."""
        return self.uri.startswith("http")

    @property
    def shown_uri(self) -> str:
        """The address without a password."""
        return re.sub(r"//[^/@]*@", "//", self.uri)

    def client(self) -> Any:
        """mlflow's client; the first use of a SQLite file creates its tables, under a lock."""
        if self._client is None:
            for name, value in ENVIRONMENT.items():
                os.environ.setdefault(name, value)
            from mlflow import MlflowClient

            logging.getLogger("alembic").setLevel(logging.WARNING)
            with self._first_touch():
                client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
                client.search_experiments(max_results=1)
            self._client = client
        return self._client

    @contextlib.contextmanager
    def _first_touch(self) -> Iterator[None]:
        """Several processes creating the tables of one SQLite file at once would fail."""
        if not self.uri.startswith("sqlite"):
            yield
            return
        file = Path(self.uri.removeprefix("sqlite:///"))
        with FileLock(file.with_name(file.name + ".lock")):
            yield

    def experiment(self, name: str, tags: Mapping[str, str] | None = None) -> str:
        """The id of an experiment, created (or restored) when needed; `tags` are set on it."""
        client = self.client()
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                ident: str = client.create_experiment(
                    name, artifact_location=None if self.is_server else self.artifacts.as_uri()
                )
            except Exception:
                found = client.get_experiment_by_name(name)  # another process was faster
                if found is None:
                    raise
                ident = found.experiment_id
        else:
            ident = found.experiment_id
            if found.lifecycle_stage == "deleted":
                client.restore_experiment(ident)
        for tag, value in (tags or {}).items():
            if found is None or found.tags.get(tag) != value:
                client.set_experiment_tag(ident, tag, value)
        return ident

    def run(self, run_id: str, *, experiment: str, name: str, time: int) -> Location:
        """Where our run `run_id` lies, found by its tag, or created with its start time in milliseconds."""
        ident = self.experiment(experiment)
        client = self.client()
        found = client.search_runs([ident], filter_string=f"tags.`{RUN_TAG}` = '{run_id}'", max_results=1)
        run = found[0] if found else client.create_run(ident, start_time=time, tags={RUN_TAG: run_id}, run_name=name)
        return Location(ident, run.info.run_id)

    def log(self, at: Location, chunk: Chunk) -> None:
        """Send points, parameters and tags, in as few requests as mlflow's limits allow."""
        from mlflow.entities import Metric, Param, RunTag

        metrics = [Metric(p.key, p.value, p.time, p.step) for p in chunk.points]
        params = [Param(k, v) for k, v in chunk.params.items() if len(v) <= MAX_PARAM]
        tags = [RunTag(k, v[:MAX_TAG]) for k, v in chunk.tags.items()]
        while metrics or params or tags:
            self.client().log_batch(at.run, metrics=metrics[:800], params=params[:100], tags=tags[:100])
            metrics, params, tags = metrics[800:], params[100:], tags[100:]

    def status(self, at: Location, status: str, time: int) -> None:
        """Set mlflow's status and our own tag: running, finished, failed, interrupted, pruned or killed."""
        client = self.client()
        theirs = MLFLOW_STATUS.get(status, "KILLED")
        if theirs == "RUNNING":
            client.update_run(at.run, status=theirs)
        else:
            client.set_terminated(at.run, status=theirs, end_time=time)
        client.set_tag(at.run, STATUS_TAG, status)

    def dataset(self, at: Location, name: str, digest: str, context: str) -> None:
        """Attach a data set by name and digest; `context` says what it was used for."""
        from mlflow.data.code_dataset_source import CodeDatasetSource
        from mlflow.data.meta_dataset import MetaDataset
        from mlflow.entities import DatasetInput, InputTag

        data = MetaDataset(
            source=CodeDatasetSource(tags={}), name=name, digest=digest[:36]
        )  # mlflow's column is as wide
        used = DatasetInput(data._to_mlflow_entity(), [InputTag("mlflow.data.context", context)])
        self.client().log_inputs(at.run, [used])

    def artifact(self, at: Location, file: Path, name: str) -> None:
        """Put a file at the path `name` of the run; on this machine's disk as `place` does, else by upload."""
        target = PurePosixPath(name)
        if target.is_absolute() or ".." in target.parts:
            raise ValueError(f"'{name}' is no path inside a run")
        folder_here = None if self.is_server else _local(self.client().get_run(at.run).info.artifact_uri)
        if folder_here is not None:
            place(file, folder_here / target)
            return
        with _named(file, target.name) as local:
            folder = str(target.parent) if target.parent.name else None
            self.client().log_artifact(at.run, str(local), folder)

    def image(self, at: Location, file: Path, name: str, *, step: int, time: int, digest: str) -> None:
        """Upload a PNG to the run's image grid under `name`, with a step slider.

        The file names are those of `MlflowClient.log_image`, but derived from the content instead
        of drawn, so that a repetition overwrites.
        """
        from PIL import Image

        title = key(name).replace("/", "~")
        stem = f"{title}+step+{step}+timestamp+{time}+{uuid.UUID(digest[:32])}"
        self.artifact(at, file, f"images/{stem}.png")
        with tempfile.TemporaryDirectory() as folder, Image.open(file) as image:
            image.thumbnail((256, 256))
            small = Path(folder) / f"{stem}+compressed.webp"
            image.save(small)
            self.artifact(at, small, f"images/{small.name}")
        self.client().set_tag(at.run, "mlflow.loggedImages", "True")

    def model(
        self, at: Location, file: Path, name: str, *, step: int, digest: str, points: Iterable[Point] = ()
    ) -> str:
        """Register a weights file as a LoggedModel of the run; its id. `points` can be searched for on the model."""
        from mlflow.entities import LoggedModelOutput, Metric

        client = self.client()
        same = f"source_run_id = '{at.run}' AND tags.`reid_lab.sha256` = '{digest}'"
        found = client.search_logged_models([at.experiment], filter_string=same, max_results=1)
        if found:
            model = found[0]
        else:
            model = client.create_logged_model(
                at.experiment,
                name=re.sub(r"[/.:%\"']", "_", name),
                source_run_id=at.run,
                tags={"reid_lab.sha256": digest, "reid_lab.step": str(step)},
                model_type="reid",
            )
        ident: str = model.model_id
        if str(model.status) != "READY":  # finalised last: an interrupted registration is completed here
            folder = None if self.is_server else _local(model.artifact_location)
            if folder is None:
                client.log_model_artifact(ident, str(file))
            else:
                place(file, folder / file.name)
            outputs = client.get_run(at.run).outputs
            if ident not in {o.model_id for o in (outputs.model_outputs if outputs else [])}:
                client.log_outputs(at.run, [LoggedModelOutput(ident, step=step)])
            metrics = [Metric(p.key, p.value, p.time, p.step, model_id=ident, run_id=at.run) for p in points]
            client.log_batch(at.run, metrics=metrics)
            client.finalize_logged_model(ident, "READY")
        return ident

    def experiments(self) -> dict[str, str]:
        """The active experiments: name -> id."""
        return {e.name: e.experiment_id for e in self.client().search_experiments()}


@contextlib.contextmanager
def _named(file: Path, name: str) -> Iterator[Path]:
    """`file` under another name: mlflow names an artifact after its local file."""
    if file.name == name:
        yield file
        return
    with tempfile.TemporaryDirectory() as folder:
        link = Path(folder) / name
        link.symlink_to(file.resolve())
        yield link


def server_command(store: Store, host: str, port: int, allowed: Sequence[str]) -> list[str]:
    """The arguments of an mlflow server over `store`: one worker, no job runners, these Host headers only."""
    where = ["--backend-store-uri", store.uri, "--artifacts-destination", store.artifacts.as_uri()]
    listen = ["--host", host, "--port", str(port), "--workers", "1", "--allowed-hosts", ",".join(allowed)]
    return [sys.executable, "-m", "mlflow", "server", *where, *listen]

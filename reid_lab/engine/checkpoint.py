"""Checkpoints: one safetensors file each, atomic, with a manifest that proves every byte.

The header's metadata holds one string, `manifest`: a line with the sha256 of the rest, which is JSON
of the facts (step, metrics, …) and the sha256 of every tensor. Equal contents give equal files, byte
for byte. A file is written under a temporary name in the same folder, flushed to disk and moved into
place, so that a reader sees the old file or the new one.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from reid_lab.errors import CheckpointError, RunError

LAST, PREVIOUS, BEST = "last.safetensors", "last.prev.safetensors", "best.safetensors"
MODEL = "model/"
FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds: tensors and their sha256 by name, and plain facts."""

    tensors: dict[str, Tensor]
    hashes: dict[str, str]
    facts: dict[str, Any]

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose name starts with `prefix`, without it."""
        return {name.removeprefix(prefix): t for name, t in self.tensors.items() if name.startswith(prefix)}


def tensor_sha256(tensor: Tensor) -> str:
    """The sha256 of a tensor's dtype, shape and bytes."""
    digest = hashlib.sha256(f"{tensor.dtype}{tuple(tensor.shape)}".encode())
    data: Any = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    digest.update(data)
    return digest.hexdigest()


def weights_sha256(hashes: Mapping[str, str]) -> str:
    """One sha256 of a model's weights, from the hashes of its tensors in a checkpoint."""
    lines = [f"{name} {hashes[name]}" for name in sorted(hashes) if name.startswith(MODEL)]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """The sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], *, keep: Path | None = None) -> None:
    """Replaces the file atomically; `keep` names a hard link by which the replaced one stays reachable.

    Raises RunError when it cannot be written (what is needed and free is said); the former file is
    then untouched and nothing is left behind.
    """
    # Copies, because two names may share one storage, which the format does not know.
    own = {name: t.detach().to("cpu", copy=True).contiguous() for name, t in tensors.items()}
    hashes = {name: tensor_sha256(t) for name, t in own.items()}
    manifest = json.dumps({"format": FORMAT, "facts": dict(facts), "tensors": hashes}, sort_keys=True)
    metadata = {"manifest": f"{hashlib.sha256(manifest.encode()).hexdigest()}\n{manifest}"}
    needed = sum(t.nbytes for t in own.values()) + 2 * len(manifest)
    temporary = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _refuse_full_disk(path, needed)
        _write(temporary, own, metadata)
        if keep is not None and path.exists():
            link = keep.with_name(keep.name + ".tmp")
            link.unlink(missing_ok=True)
            os.link(path, link)
            os.replace(link, keep)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        _refuse_full_disk(path, needed)
        raise RunError(f"{path}: the checkpoint cannot be written ({error}); the former one is intact") from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load(path: Path) -> Checkpoint:
    """Reads and verifies a checkpoint; tensors are on the CPU.

    Raises CheckpointError naming the file and the tensor that is damaged, and which other
    checkpoint of the folder is good.
    """
    try:
        return _read(path)
    except CheckpointError as error:
        raise CheckpointError(f"{error}; {advice(path)}") from None


def advice(path: Path) -> str:
    """Which other checkpoint beside this one is intact."""
    for other in (LAST, PREVIOUS, BEST):
        if other == path.name or not (path.parent / other).is_file():
            continue
        try:
            facts = _read(path.parent / other).facts
        except CheckpointError:
            continue
        if other == BEST:
            return f"{other} (weights of step {facts.get('step')}) is intact and can be given as init_from"
        return f"{other} (step {facts.get('step')}) is intact: copy it to {path.name} and run the same command again"
    return "no other checkpoint beside it is intact"


def load_weights(path: Path, model: nn.Module) -> dict[str, Any]:
    """Loads the weights of a checkpoint into the model and returns the checkpoint's facts.

    Keys, shapes and dtypes must agree exactly; CheckpointError lists every one that does not, and
    the model is then untouched.
    """
    found = load(path)
    assign(model, found.under(MODEL), str(path))
    return found.facts


def assign(model: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Copies weights into the model; CheckpointError lists all mismatches at once."""
    own: dict[str, Tensor] = model.state_dict()
    faults = [f"{where}: tensor '{n}' is missing" for n in own if n not in weights]
    faults += [f"{where}: tensor '{n}' is unknown to the model" for n in weights if n not in own]
    for name in own.keys() & weights.keys():
        a, b = own[name], weights[name]
        if a.shape != b.shape or a.dtype != b.dtype:
            faults.append(
                f"{where}: tensor '{name}' is {tuple(b.shape)} {b.dtype}, the model wants {tuple(a.shape)} {a.dtype}"
            )
    if faults:
        raise CheckpointError(*sorted(faults))
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(weights[name])


def identify(path: Path) -> tuple[int, str]:
    """The step of a checkpoint and the sha256 of its weights, read from the header alone.

    Raises CheckpointError when there is no readable file; `load` verifies the tensors.
    """
    with _opened(path) as file:
        manifest = _manifest(path, file.metadata() or {})
    return manifest["facts"]["step"], weights_sha256(manifest["tensors"])


def saved_step(folder: Path) -> int:
    """The step of the folder's `last`, from which training would go on; -1 without a readable one."""
    try:
        return identify(folder / LAST)[0]
    except CheckpointError:  # `load` says what is wrong with it
        return -1


def drop_state(folder: Path) -> None:
    """Removes what only a training under way needs: `last` and its predecessor, with the optimiser's state."""
    for name in (LAST, PREVIOUS):
        (folder / name).unlink(missing_ok=True)


def clean(folder: Path) -> None:
    """Removes what a killed process left half-written."""
    for name in (LAST, PREVIOUS, BEST):
        (folder / f"{name}.tmp").unlink(missing_ok=True)


def _write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    save_file(tensors, path, metadata)
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Makes a rename durable; folders cannot be opened on Windows, where it is not needed."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _refuse_full_disk(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise RunError(
            f"{path}: no space for a checkpoint: {needed / 1e6:.1f} MB are needed, {free / 1e6:.1f} MB are free; "
            "the former checkpoint is intact, the same command resumes once there is space"
        )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A safetensors file, with every way it can be unreadable as a CheckpointError."""
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such checkpoint")
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (SafetensorError, OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{path}: the file is damaged ({error})") from error


def _read(path: Path) -> Checkpoint:
    with _opened(path) as file:
        manifest = _manifest(path, file.metadata() or {})
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    expected: dict[str, str] = manifest["tensors"]
    faults = [f"{path}: tensor '{n}' is missing" for n in sorted(expected.keys() - tensors.keys())]
    faults += [f"{path}: tensor '{n}' is not in the manifest" for n in sorted(tensors.keys() - expected.keys())]
    faults += [
        f"{path}: tensor '{n}' is damaged (its sha256 differs from the manifest)"
        for n, t in tensors.items()
        if n in expected and tensor_sha256(t) != expected[n]
    ]
    if faults:
        raise CheckpointError(*faults)
    return Checkpoint(tensors, expected, manifest["facts"])


def _manifest(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    if "manifest" not in metadata:
        raise CheckpointError(f"{path}: not a checkpoint of reid-lab (it has no manifest)")
    sha256, _, text = metadata["manifest"].partition("\n")
    if hashlib.sha256(text.encode()).hexdigest() != sha256:
        raise CheckpointError(f"{path}: the manifest is damaged")
    manifest: dict[str, Any] = json.loads(text)
    return manifest

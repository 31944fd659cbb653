"""Parameters and buffers of a TorchScript archive, without running what is in it.

`torch.jit.load` compiles and runs the archive's code. An archive is a zip file, though: `data.pkl` holds the tree of
modules, `data/N` the bytes of each storage, and `code/` says which attributes of a class are parameters and which are
buffers. The tree is read here by an unpickler that knows tensors and inert modules and refuses everything else.
"""

from __future__ import annotations

import io
import pickle
import re
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, final

import torch
from torch import Tensor

from reid_lab.errors import CheckpointError

_DTYPES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
_CODE = re.compile(
    r'^class (\w+)\(Module\):\n  __parameters__ = \[([\w", .]*)\]\n(?:  __buffers__ = \[([\w", .]*)\]\n)?', re.MULTILINE
)
_LISTS = ("build_intlist", "build_doublelist", "build_boollist", "build_tensorlist")


def is_archive(path: Path) -> bool:
    """Whether a file is a zip file with TorchScript in it."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    return any(name.count("/") == 1 and name.endswith("/constants.pkl") for name in names) and any(
        name.split("/")[1:2] == ["code"] for name in names
    )


def read_archive(path: Path) -> dict[str, Tensor]:
    """The tensors of an archive under the names of its `state_dict`.

    Raises:
        CheckpointError: it is damaged, or its tree holds anything but modules, tensors and plain values.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return dict(_tensors(_Reader(archive)))
    except Exception as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is a TorchScript archive that cannot be read without running it: {first}") from (
            error
        )


class _Module:
    """A module of an archive: its attributes, and where its class is described. It does nothing."""

    kind = ""


@final
class _Reader:
    """The records of an archive by their names below its top folder."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self.archive = archive
        self.top = next(name for name in archive.namelist() if name.endswith("/data.pkl")).removesuffix("data.pkl")
        self.names = {name.removeprefix(self.top) for name in archive.namelist()}
        if "byteorder" in self.names and self.record("byteorder").strip() != b"little":
            raise ValueError("its numbers are not little-endian")

    def record(self, name: str) -> bytes:
        return self.archive.read(self.top + name)

    def listed(self) -> dict[str, frozenset[str] | None]:
        """Class -> the names of its parameters and buffers; None where an old archive does not tell the latter."""
        found: dict[str, frozenset[str] | None] = {}
        for name in sorted(self.names):
            if name.startswith("code/") and name.endswith(".py"):
                module = name.removeprefix("code/").removesuffix(".py").replace("/", ".")
                for match in _CODE.finditer(self.record(name).decode("utf-8")):
                    kind, parameters, buffers = match.groups()
                    names = re.findall(r'"([^"]+)"', f"{parameters}{buffers}")
                    found[f"{module}.{kind}"] = None if buffers is None else frozenset(names)
        return found


def _tensors(reader: _Reader) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers of the tree by their dotted names."""
    tree = _Unpickler(reader).load()
    if not isinstance(tree, _Module):
        raise ValueError("it holds no module")
    yield from _walk(tree, "", reader.listed())


def _walk(module: _Module, prefix: str, listed: Mapping[str, frozenset[str] | None]) -> Iterator[tuple[str, Tensor]]:
    names = listed.get(module.kind)
    for name, value in vars(module).items():
        if isinstance(value, _Module):
            yield from _walk(value, f"{prefix}{name}.", listed)
        elif isinstance(value, Tensor) and (names is None or name in names):
            yield f"{prefix}{name}", value


@final
class _Unpickler(pickle.Unpickler):
    """Reads `data.pkl`: what it names is a module, a tensor or a list, and nothing is called besides."""

    def __init__(self, reader: _Reader) -> None:
        super().__init__(io.BytesIO(reader.record("data.pkl")))
        self.reader = reader
        self.storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return type(name, (_Module,), {"kind": f"{module}.{name}"})
        known: dict[tuple[str, str], Callable[..., Any]] = {
            ("collections", "OrderedDict"): OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch.jit._pickle", "restore_type_tag"): lambda value, tag: value,
            **{("torch.jit._pickle", kind): list for kind in _LISTS},
        }
        if (module, name) in known:
            return known[module, name]
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        raise ValueError(f"it names {module}.{name}, which is no tensor and no module")

    def persistent_load(self, pid: Any) -> Tensor:
        kind, dtype, key, _, count = pid
        if kind != "storage" or not isinstance(dtype, torch.dtype):
            raise ValueError(f"it refers to a {kind}")
        if key not in self.storages:
            content = self.reader.record(f"data/{key}")
            if len(content) != count * dtype.itemsize:
                raise ValueError(f"data/{key} has {len(content)} bytes, {count * dtype.itemsize} are needed")
            empty = torch.empty(0, dtype=dtype)
            self.storages[key] = torch.frombuffer(bytearray(content), dtype=dtype) if count else empty
        return self.storages[key]


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Tensor:
    """A view of a storage; torch refuses one that reaches beyond it."""
    return storage.as_strided(size, stride, offset).clone()

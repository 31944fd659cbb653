"""What weights come in: a torch or safetensors file, a TorchScript archive, the folder of a Hugging Face model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from torch import Tensor

from reid_lab.errors import CheckpointError, Fault
from reid_lab.interop.torchscript import is_archive, read_archive
from reid_lab.parts.locate import FILES
from reid_lab.parts.weights import read_tensors

CONFIG = "config.json"
_WORDS = ("vocab.json", "merges.txt", "vocab.txt", "tokenizer.json", "tokenizer_config.json")
_MORE = ("special_tokens_map.json", "added_tokens.json")


@final
@dataclass(frozen=True)
class Container:
    """The tensors, their file, and the folder of a Hugging Face model that they were found in, if any."""

    tensors: Mapping[str, Tensor]
    file: Path
    folder: Path | None = None


@final
@dataclass(frozen=True)
class Model:
    """What the folder of a Hugging Face model says beside its weights: settings, and the files of its tokenizer."""

    settings: Mapping[str, Any]
    words: Mapping[str, str] = field(default_factory=dict)


def read(path: Path) -> Container:
    """The tensors at a path, read as plain data and unwrapped.

    Raises:
        CheckpointError: nothing is there, a folder has no weights or has them in several files, a file is damaged
            or holds anything but plain data.
    """
    if not path.is_dir():
        tensors = read_archive(path) if path.is_file() and is_archive(path) else read_tensors(path)
        in_folder = path.name in FILES and (path.parent / CONFIG).is_file()
        return Container(tensors, path, path.parent if in_folder else None)
    for name in FILES:
        if (path / name).is_file():
            return read(path / name)
    if any(path.glob("*.index.json")):
        raise CheckpointError(Fault("its weights are in several files; one file is read here", str(path)))
    raise CheckpointError(Fault(f"no weights in this folder; one of {', '.join(FILES)} is needed", str(path)))


def model(folder: Path, kind: str) -> Model:
    """What a folder says of a model of this kind (`clip`, `vit`, `bert`).

    Raises:
        CheckpointError: `config.json` is missing, no JSON, or of another kind.
    """
    file = folder / CONFIG
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(Fault(f"no {CONFIG} in this folder", str(folder))) from error
    except ValueError as error:
        raise CheckpointError(Fault(f"no valid JSON: {error}", str(file))) from error
    found = settings.get("model_type") if isinstance(settings, dict) else None
    if found != kind:
        raise CheckpointError(Fault(f"a model of type '{found}'; '{kind}' is needed here", str(file)))
    there = [name for name in (*_WORDS, *_MORE) if (folder / name).is_file()]
    return Model(settings, {name: (folder / name).read_text(encoding="utf-8") for name in there})

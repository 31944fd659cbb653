"""Where a backbone's folder is: a preset, a local folder, or the Hugging Face cache."""

from __future__ import annotations

import functools
import hashlib
import re
from pathlib import Path

from reid_lab.errors import CheckpointError, SpecError, unknown

PRESETS = ("tiny-clip", "tiny-vit", "tiny-bert")
WEIGHTS = Path(__file__).parent.parent / "weights"
FILES = ("model.safetensors", "pytorch_model.bin")
_BOTH = {"CLIP's": "openai/clip-vit-base-patch16", "ImageNet's": "google/vit-base-patch16-224"}
_SHORT = re.compile(r"vit[-_/]?b(ase)?[-_/]?(patch)?16([-_]224)?([-_]transreid)?([-_]clip)?", re.IGNORECASE)
"""The short names of ViT-B/16, which is two different trunks."""
_WANTED = (
    "config.json",
    "*.safetensors",
    "pytorch_model.bin",
    "vocab.*",
    "merges.txt",
    "tokenizer*",
    "special_tokens*",
)


def resolve(name: str) -> Path:
    """The folder of a preset, a local folder, or a hub id such as `openai/clip-vit-base-patch16`.

    Hub ids are looked up in the local cache, and downloaded unless HF_HUB_OFFLINE is set. Raises
    `SpecError` for an unknown name, `CheckpointError` for a known one whose files are not there.
    """
    folder = WEIGHTS / name if name in PRESETS else Path(name).expanduser()
    if (folder / "config.json").is_file():
        return folder
    if folder.is_dir():
        raise CheckpointError(f"backbone '{name}': {folder} holds no config.json")
    if name in PRESETS:
        raise CheckpointError(f"backbone '{name}': its weights are not installed; make them with `reid-lab pretrain`")
    if not _is_hub_id(name):
        raise SpecError(_unknown(name))
    return _hub(name)


def fingerprint(name: str) -> str:
    """sha256 over the configuration, weights and vocabulary of a backbone: part of a run's identity.

    Hashed once in a process while the files' sizes and times stay: a study asks for every one of its cells.
    """
    folder = resolve(name)
    files = (folder / file for file in ("config.json", *FILES, "vocab.json", "merges.txt", "vocab.txt"))
    there = ((file, file.stat()) for file in files if file.is_file())
    return _hashed(tuple((file, stat.st_size, stat.st_mtime_ns, stat.st_ino) for file, stat in there))


@functools.lru_cache(maxsize=64)
def _hashed(files: tuple[tuple[Path, int, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for file, *_ in files:
        digest.update(f"{file.name}:".encode())
        with file.open("rb") as content:
            digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()


def known_name(name: str) -> str:
    """`name`, when it can be a backbone: a preset, a folder that exists, or the form of a hub id.

    Raises:
        ValueError: it can be none; or it is a short name that two different trunks have.
    """
    if _SHORT.fullmatch(name):
        both = " or ".join(f"{whose} '{known}'" for whose, known in _BOTH.items())
        raise ValueError(f"'{name}' is the name of two trunks; name the weights in full: {both}")
    if name in PRESETS or _is_hub_id(name) or Path(name).expanduser().is_dir():
        return name
    raise ValueError(_unknown(name))


def _is_hub_id(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith(("/", ".", "~")) and not name.endswith("/")


def _unknown(name: str) -> str:
    return f"{unknown('backbone', name, PRESETS)} (a folder with config.json, or a hub id OWNER/NAME, is possible too)"


def _hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    for offline in (True,) if HF_HUB_OFFLINE else (True, False):
        try:
            folder = Path(snapshot_download(name, allow_patterns=list(_WANTED), local_files_only=offline))
        except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError):
            continue
        if (folder / "config.json").is_file() and any((folder / file).is_file() for file in FILES):
            return folder
    raise CheckpointError(
        f"backbone '{name}' is neither a folder nor complete in the local Hugging Face cache; where there is a "
        f"network, fetch it with `hf download {name}` and copy the cache, or give a folder"
    )

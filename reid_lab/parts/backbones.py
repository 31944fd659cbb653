"""Pretrained trunks by name: presets, the local Hugging Face cache, or a folder.

The only door to transformers, and it opens for tokenizers alone: configurations and weights are
read and written directly (`huggingface`), so that building a trunk imports nothing of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from reid_lab.errors import CheckpointError, Fault, SpecError, unknown
from reid_lab.parts import huggingface as hf
from reid_lab.parts.tokenizers import square_positions
from reid_lab.parts.towers import BertTrunk, ClipTrunk, TextConfig, VisionConfig, VitTrunk
from reid_lab.parts.vocabulary import END, MASK, START
from reid_lab.parts.weights import Table, load, read_tensors
from reid_lab.seeding import stream

PRESETS = ("tiny-clip", "tiny-vit", "tiny-bert")
WEIGHTS = Path(__file__).parent.parent / "weights"
_FILES = ("model.safetensors", "pytorch_model.bin")
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
    if name.count("/") != 1 or name.startswith(("/", ".", "~")):
        what = unknown("backbone", name, PRESETS)
        raise SpecError(f"{what} (a folder with config.json, or a hub id OWNER/NAME, is possible too)")
    return _hub(name)


def _hub(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    for offline in (True,) if HF_HUB_OFFLINE else (True, False):
        try:
            folder = Path(snapshot_download(name, allow_patterns=list(_WANTED), local_files_only=offline))
        except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError):
            continue
        if (folder / "config.json").is_file() and any((folder / file).is_file() for file in _FILES):
            return folder
    raise CheckpointError(
        f"backbone '{name}' is neither a folder nor complete in the local Hugging Face cache; where there is a "
        f"network, fetch it with `hf download {name}` and copy the cache, or give a folder"
    )


def _config(folder: Path, kind: str) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(Fault(f"no valid JSON: {error}", str(folder / "config.json"))) from error
    if not isinstance(config, dict) or config.get("model_type") != kind:
        found = config.get("model_type") if isinstance(config, dict) else None
        raise CheckpointError(f"{folder} holds a model of type '{found}'; '{kind}' is needed here")
    return config


def _tensors(folder: Path) -> dict[str, Tensor]:
    for name in _FILES:
        if (folder / name).is_file():
            return read_tensors(folder / name)
    raise CheckpointError(f"{folder} holds no weights; one of {', '.join(_FILES)} is needed")


def clip(
    name: str, *, image_size: tuple[int, int], stride: int | None = None, pretrained: bool = True, seed: int = 0
) -> ClipTrunk:
    """A CLIP trunk for images of `image_size` (height, width), with its tokenizer as `trunk.tokenizer`.

    `pretrained=False`: the same configuration with fresh weights from the stream (seed, "backbone").
    """
    folder = resolve(name)
    config = hf.clip_config(_config(folder, "clip"))
    with stream(seed, "backbone"):
        trunk = ClipTrunk(config, image_size, stride)
    if pretrained:
        positions = {"vision.embed.positions": ((config.vision.side,) * 2, trunk.vision.embed.grid)}
        table = hf.clip_table(config)
        load(trunk, _tensors(folder), table, positions=positions, ignore=hf.CLIP_IGNORE, where=str(folder))
    trunk.tokenizer = FolderTokenizer(folder)
    return trunk


def vit(
    name: str, *, image_size: tuple[int, int], stride: int | None = None, pretrained: bool = True, seed: int = 0
) -> VitTrunk:
    """A ViT trunk for images of `image_size` (height, width); `pretrained` as in `clip`."""
    folder = resolve(name)
    config = hf.vit_config(_config(folder, "vit"))
    with stream(seed, "backbone"):
        trunk = VitTrunk(config, image_size, stride)
    if pretrained:
        tensors = hf.bare(_tensors(folder), "vit.")
        positions = {"embed.positions": ((config.side,) * 2, trunk.embed.grid)}
        table = hf.vit_table(config, renamed=hf.is_renamed_vit(tensors))
        load(trunk, tensors, table, positions=positions, ignore=hf.VIT_IGNORE, where=str(folder))
    return trunk


def bert(name: str, *, pretrained: bool = True, seed: int = 0) -> BertTrunk:
    """A BERT trunk with its tokenizer as `trunk.tokenizer`; `pretrained` as in `clip`."""
    folder = resolve(name)
    settings = _config(folder, "bert")
    config = hf.bert_config(settings)
    with stream(seed, "text_backbone"):
        trunk = BertTrunk(config, pad_id=settings.get("pad_token_id", 0))
    if pretrained:
        tensors = hf.bare(_tensors(folder), "bert.")
        load(trunk, tensors, hf.bert_table(config), ignore=hf.BERT_IGNORE, where=str(folder))
    trunk.tokenizer = FolderTokenizer(folder)
    return trunk


class FolderTokenizer:
    """The tokenizer of a folder: captions -> ids (n, max_length) int64, padded with `pad_id`.

    Too long a caption is cut so that its end token stays. Special ids are read from the files;
    transformers is imported at the first caption. CLIP pads with 0, as IRRA does; where a vocabulary
    has no mask token, the id before the start token serves (49405 of OpenAI's, as in IRRA).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.vocabulary = _vocabulary(folder)
        is_clip = START in self.vocabulary
        start, end, mask = (START, END, MASK) if is_clip else ("[CLS]", "[SEP]", "[MASK]")
        missing = [token for token in (start, end) if token not in self.vocabulary]
        if missing:
            raise CheckpointError(f"{folder}: the vocabulary has no {' and no '.join(missing)}")
        self.start_id = self.vocabulary[start]
        self.end_id = self.vocabulary[end]
        self.mask_id = self.vocabulary.get(mask, self.start_id - 1)
        self.pad_id = 0 if is_clip else self.vocabulary.get("[PAD]", 0)
        self.size = len(self.vocabulary)
        self._is_clip = is_clip
        self._backend: Any = None

    def __call__(self, texts: list[str], max_length: int) -> Tensor:
        """Captions -> ids (n, max_length)."""
        if self._backend is None:
            self._backend = self._open()
        rows = self._backend(list(texts), truncation=True, max_length=max_length, padding=False)["input_ids"]
        ids = torch.full((len(rows), max_length), self.pad_id, dtype=torch.int64)
        for row, found in zip(ids, rows, strict=True):
            row[: len(found)] = torch.tensor(found, dtype=torch.int64)
        return ids

    def _open(self) -> Any:
        from transformers import BertTokenizer, CLIPTokenizer

        return (CLIPTokenizer if self._is_clip else BertTokenizer).from_pretrained(self.folder, local_files_only=True)

    def __getstate__(self) -> dict[str, Any]:
        """Without the open backend, so that worker processes open their own."""
        return {**self.__dict__, "_backend": None}


def closed_tokenizer(files: Mapping[str, str]) -> FolderTokenizer:
    """The tokenizer of files that lie in no folder yet (`vocabulary.clip_tokenizer_files`, …)."""
    with TemporaryDirectory() as name:
        for file, text in files.items():
            (Path(name) / file).write_text(text, encoding="utf-8")
        tokenizer = FolderTokenizer(Path(name))
        tokenizer([""], 2)  # reads the files while they are there
    return tokenizer


def _vocabulary(folder: Path) -> dict[str, int]:
    if (folder / "vocab.json").is_file():
        return dict(json.loads((folder / "vocab.json").read_text(encoding="utf-8")))
    if (folder / "vocab.txt").is_file():
        lines = (folder / "vocab.txt").read_text(encoding="utf-8").splitlines()
        return {token: i for i, token in enumerate(lines)}
    if (folder / "tokenizer.json").is_file():
        content = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        added = {entry["content"]: entry["id"] for entry in content.get("added_tokens", [])}
        return {**content["model"]["vocab"], **added}
    raise CheckpointError(f"{folder} holds no tokenizer; one of vocab.json, vocab.txt, tokenizer.json is needed")


def write_clip_folder(
    path: Path, trunk: ClipTrunk, tokenizer_files: Mapping[str, str], *, logit_scale: float = 2.6592
) -> None:
    """A Hugging Face folder that CLIPModel and CLIPTokenizer load.

    CLIP's configuration knows square images only: a table of H'×W' positions is written as the square
    one whose resize gives it back exactly. `logit_scale` is the logarithm that CLIP stores.
    `eos_token_id` 2 selects pooling at the highest id, which is where our vocabularies end.
    """
    config, table = trunk.config, dict(hf.clip_table(trunk.config))
    tensors, side = _export(trunk, table, "vision.embed.positions", trunk.vision.embed.grid)
    tensors["logit_scale"] = torch.tensor(logit_scale)
    vision = {**_sizes(config.vision.transformer), **_image(config.vision, side)}
    words = {"vocab_size": config.text.vocabulary, "max_position_embeddings": config.text.context}
    text = {**_sizes(config.text.transformer), **words, "bos_token_id": 0, "eos_token_id": 2, "pad_token_id": 0}
    settings = {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": config.projection,
        "logit_scale_init_value": logit_scale,
        "text_config": {"model_type": "clip_text_model", "projection_dim": config.projection, **text},
        "vision_config": {"model_type": "clip_vision_model", "projection_dim": config.projection, **vision},
    }
    _write(path, settings, tensors, tokenizer_files)


def write_vit_folder(path: Path, trunk: VitTrunk) -> None:
    """A Hugging Face folder that ViTModel loads; its pooler, which the trunk has none of, is the identity."""
    table = dict(hf.vit_table(trunk.config))
    tensors, side = _export(trunk, table, "embed.positions", trunk.embed.grid)
    settings = {
        "architectures": ["ViTModel"],
        "model_type": "vit",
        **_sizes(trunk.config.transformer),
        **_image(trunk.config, side),
    }
    _write(path, settings, {**tensors, **_pooler(trunk.width)}, {})


def write_bert_folder(path: Path, trunk: BertTrunk, tokenizer_files: Mapping[str, str]) -> None:
    """A Hugging Face folder that BertModel and BertTokenizer load; the pooler is the identity."""
    config: TextConfig = trunk.config
    tensors = _export(trunk, hf.bert_table(config))[0]
    settings = {
        "architectures": ["BertModel"],
        "model_type": "bert",
        **_sizes(config.transformer),
        "vocab_size": config.vocabulary,
        "max_position_embeddings": config.context,
        "type_vocab_size": 2,
        "pad_token_id": trunk.pad_id,
    }
    _write(path, settings, {**tensors, **_pooler(trunk.width)}, tokenizer_files)


def _sizes(config: Any) -> dict[str, Any]:
    return {
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.mlp,
        "hidden_act": config.activation,
        "layer_norm_eps": config.eps,
    }


def _image(config: VisionConfig, side: int) -> dict[str, int]:
    return {"image_size": side * config.patch, "patch_size": config.patch, "num_channels": config.channels}


def _pooler(width: int) -> dict[str, Tensor]:
    return {"pooler.dense.weight": torch.eye(width), "pooler.dense.bias": torch.zeros(width)}


def _export(
    module: torch.nn.Module, table: Table, positions: str | None = None, grid: tuple[int, int] = (0, 0)
) -> tuple[dict[str, Tensor], int]:
    """The tensors of a file, and the side of the square position grid in it."""
    tensors: dict[str, Tensor] = {}
    side = 0
    for key, value in module.state_dict().items():
        value = value.detach().cpu().to(torch.float32)
        if key == positions:
            value, side = square_positions(value, grid)
        tensors |= table[key].write(value)
    return tensors, side


def _write(path: Path, settings: dict[str, Any], tensors: dict[str, Tensor], files: Mapping[str, str]) -> None:
    path.mkdir(parents=True, exist_ok=True)
    content = {"config.json": json.dumps({**settings, "dtype": "float32"}, indent=2) + "\n", **files}
    for name, text in content.items():
        (path / name).write_text(text, encoding="utf-8")
    temporary = path / "model.safetensors.part"
    save_file(tensors, temporary, metadata={"format": "pt"})
    os.replace(temporary, path / "model.safetensors")

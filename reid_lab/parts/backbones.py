"""Pretrained trunks by name: presets, the local Hugging Face cache, or a folder.

The only door to transformers, and it opens for tokenizers alone: configurations and weights are
read and written directly (`huggingface`), so that building a trunk imports nothing of it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, final

import torch
from safetensors.torch import save_file
from torch import Tensor

from reid_lab.errors import CheckpointError, Fault
from reid_lab.parts import huggingface as hf
from reid_lab.parts.locate import FILES, fingerprint, resolve
from reid_lab.parts.tokenizers import square_positions
from reid_lab.parts.towers import BertTrunk, ClipTrunk, VitTrunk
from reid_lab.parts.vocabulary import END, MASK, START
from reid_lab.parts.weights import Table, load, read_tensors
from reid_lab.seeding import stream

_CLIP_PIECES = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"

__all__ = [
    "FolderTokenizer",
    "bert",
    "clip",
    "closed_tokenizer",
    "fingerprint",
    "folder_tokenizer",
    "resolve",
    "vit",
    "write_bert_folder",
    "write_clip_folder",
    "write_vit_folder",
]


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
    for name in FILES:
        if (folder / name).is_file():
            return read_tensors(folder / name)
    raise CheckpointError(f"{folder} holds no weights; one of {', '.join(FILES)} is needed")


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
    trunk.tokenizer = folder_tokenizer(folder, config.text.vocabulary)
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
    trunk.tokenizer = folder_tokenizer(folder, config.vocabulary)
    return trunk


@final
class FolderTokenizer:
    """The tokenizer of a folder: captions -> ids (n, max_length) int64, padded with `pad_id`.

    Too long a caption is cut so that its end token stays. Special ids are read from the vocabulary;
    transformers is imported at the first caption. CLIP pads with 0, as IRRA does; where a vocabulary
    has no mask token, the id before the start token serves (49405 of OpenAI's, as in IRRA).
    """

    def __init__(self, vocabulary: Mapping[str, int], open_backend: Callable[[bool], Any], where: str) -> None:
        is_clip = START in vocabulary
        start, end, mask = (START, END, MASK) if is_clip else ("[CLS]", "[SEP]", "[MASK]")
        missing = [token for token in (start, end) if token not in vocabulary]
        if missing:
            raise CheckpointError(f"{where}: the vocabulary has no {' and no '.join(missing)}")
        self.start_id = vocabulary[start]
        self.end_id = vocabulary[end]
        self.mask_id = vocabulary.get(mask, self.start_id - 1)
        self.pad_id = 0 if is_clip else vocabulary.get("[PAD]", 0)
        self.size = len(vocabulary)
        special = [self.start_id, self.end_id, self.mask_id]
        first_word = 1 + max(*special, self.pad_id, vocabulary.get("[UNK]", 0))
        self.words = range(1, min(special)) if is_clip else range(first_word, self.size)
        self._open = partial(open_backend, is_clip)
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

    def __getstate__(self) -> dict[str, Any]:
        """Without the open backend, so that worker processes open their own."""
        return {**self.__dict__, "_backend": None}


def folder_tokenizer(folder: Path, vocabulary: int) -> FolderTokenizer:
    """The tokenizer of a folder whose model has `vocabulary` tokens."""
    tokenizer = FolderTokenizer(_vocabulary(folder), partial(_open_folder, folder), str(folder))
    if tokenizer.size > vocabulary:
        raise CheckpointError(f"{folder}: the tokenizer has {tokenizer.size} tokens, the model {vocabulary}")
    return tokenizer


def closed_tokenizer(files: Mapping[str, str]) -> FolderTokenizer:
    """The tokenizer of the files that `vocabulary` makes, before they are written."""
    if "vocab.json" in files:
        vocabulary = json.loads(files["vocab.json"])
        merges = [tuple(line.split(" ")) for line in files["merges.txt"].splitlines()[1:]]
    else:
        vocabulary, merges = _numbered(files["vocab.txt"]), None
    return FolderTokenizer(vocabulary, partial(_open_files, vocabulary, merges), "the closed vocabulary")


@final
class ClipBpe:
    """The tokens that CLIPTokenizer of transformers 5 makes of vocab.json and merges.txt, without importing it."""

    def __init__(self, vocabulary: dict[str, int], merges: list[tuple[str, str]], special: Sequence[str]) -> None:
        from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

        bpe = models.BPE(vocab=vocabulary, merges=merges, end_of_word_suffix="</w>", unk_token=END)
        self._tokenizer = Tokenizer(bpe)
        spaces = normalizers.Replace(Regex(r"\s+"), " ")
        self._tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), spaces, normalizers.Lowercase()])
        pieces = pre_tokenizers.Split(Regex(_CLIP_PIECES), behavior="removed", invert=True)
        self._tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pieces, pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        self._tokenizer.add_special_tokens(list(special))
        ends = (END, vocabulary[END]), (START, vocabulary[START])
        self._tokenizer.post_processor = processors.RobertaProcessing(*ends, trim_offsets=False, add_prefix_space=False)

    @classmethod
    def of(cls, folder: Path) -> ClipBpe:
        """The tokenizer of a folder with vocab.json and merges.txt."""
        lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
        merges = [(a, b) for a, b in (line.split(" ") for line in lines if line and not line.startswith("#version"))]
        vocabulary = _vocabulary(folder)
        return cls(vocabulary, merges, [token for token in (START, END, MASK) if token in vocabulary])

    def __call__(self, texts: list[str], *, max_length: int, **_: Any) -> dict[str, list[list[int]]]:
        """As a tokenizer of transformers that truncates and does not pad."""
        self._tokenizer.enable_truncation(max_length)
        return {"input_ids": [found.ids for found in self._tokenizer.encode_batch(texts)]}


def _open_folder(folder: Path, is_clip: bool) -> Any:
    whole = any((folder / name).is_file() for name in ("tokenizer.json", "added_tokens.json"))
    if is_clip and not whole and (folder / "merges.txt").is_file():
        return ClipBpe.of(folder)
    from transformers import BertTokenizer, CLIPTokenizer

    return (CLIPTokenizer if is_clip else BertTokenizer).from_pretrained(folder, local_files_only=True)


def _open_files(vocabulary: dict[str, int], merges: list[tuple[str, ...]] | None, is_clip: bool) -> Any:
    from transformers import BertTokenizer, CLIPTokenizer

    if is_clip:
        return CLIPTokenizer(vocab=vocabulary, merges=merges)
    return BertTokenizer(vocab=vocabulary)


def _numbered(lines: str) -> dict[str, int]:
    return {token: i for i, token in enumerate(lines.splitlines())}


def _vocabulary(folder: Path) -> dict[str, int]:
    if (folder / "vocab.json").is_file():
        return dict(json.loads((folder / "vocab.json").read_text(encoding="utf-8")))
    if (folder / "vocab.txt").is_file():
        return _numbered((folder / "vocab.txt").read_text(encoding="utf-8"))
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
    """
    table = hf.clip_table(trunk.config)
    tensors, side = _export(trunk, table, "vision.embed.positions", trunk.vision.embed.grid)
    tensors["logit_scale"] = torch.tensor(logit_scale)
    _write(path, hf.clip_settings(trunk.config, side, logit_scale), tensors, tokenizer_files)


def write_vit_folder(path: Path, trunk: VitTrunk) -> None:
    """A Hugging Face folder that ViTModel loads; its pooler, which the trunk has none of, is the identity."""
    tensors, side = _export(trunk, hf.vit_table(trunk.config), "embed.positions", trunk.embed.grid)
    _write(path, hf.vit_settings(trunk.config, side), {**tensors, **_pooler(trunk.width)}, {})


def write_bert_folder(path: Path, trunk: BertTrunk, tokenizer_files: Mapping[str, str]) -> None:
    """A Hugging Face folder that BertModel and BertTokenizer load; the pooler is the identity."""
    tensors, _ = _export(trunk, hf.bert_table(trunk.config))
    settings = hf.bert_settings(trunk.config, trunk.pad_id)
    _write(path, settings, {**tensors, **_pooler(trunk.width)}, tokenizer_files)


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

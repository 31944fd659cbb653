"""Closed vocabularies: tokenizer files in which every listed word is one token.

`clip_tokenizer_files` writes a byte-level BPE vocabulary for CLIPTokenizer, `bert_tokenizer_files` a
WordPiece vocabulary for BertTokenizer. Both are functions of the word list alone; text outside the
list still has tokens (bytes, or single characters).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import pairwise

MASK, START, END = "<|mask|>", "<|startoftext|>", "<|endoftext|>"
BERT_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_CLIP_PIECE = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|(?:[^\s\w]|_)+")
_BERT_PIECE = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")


def byte_alphabet() -> dict[int, str]:
    """A printable character for each byte (the byte-level alphabet of GPT-2; Radford et al., 2019, section 2.2)."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAC + 1), *range(0xAE, 0xFF + 1)]
    spare = (byte for byte in range(256) if byte not in plain)
    return {byte: chr(byte) for byte in plain} | {byte: chr(256 + i) for i, byte in enumerate(spare)}


def bpe(pieces: list[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    """Merges the pair of lowest rank, everywhere, until no known pair is left (Sennrich et al., 2016)."""
    while len(pieces) > 1:
        pair = min(pairwise(pieces), key=lambda p: ranks.get(p, len(ranks)))
        if pair not in ranks:
            break
        merged, i = [], 0
        while i < len(pieces):
            both = tuple(pieces[i : i + 2]) == pair
            merged.append("".join(pair) if both else pieces[i])
            i += 2 if both else 1
        pieces = merged
    return pieces


def merges_for(words: Iterable[str], pattern: re.Pattern[str] = _CLIP_PIECE) -> list[tuple[str, str]]:
    """BPE merges, in order, that make one token of every word (and of every piece the pre-tokenizer cuts it into).

    A new merge ranks behind all earlier ones, so that it never changes a word that is already one token.
    """
    alphabet = byte_alphabet()
    ranks: dict[tuple[str, str], int] = {}
    for piece in sorted({piece for word in words for piece in pattern.findall(word.lower())}):
        letters = [alphabet[byte] for byte in piece.encode()]
        letters[-1] += "</w>"
        while len(pieces := bpe(letters, ranks)) > 1:
            ranks[pieces[0], pieces[1]] = len(ranks)
    return list(ranks)


def clip_vocabulary(words: Iterable[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges: bytes, bytes that end a word, merged pieces, then mask, start and end.

    The end token has the highest id, so that CLIP's pooling at argmax(id) finds it.
    """
    merges = merges_for(words)
    letters = list(byte_alphabet().values())
    tokens = [*letters, *(letter + "</w>" for letter in letters), *("".join(pair) for pair in merges), MASK, START, END]
    return {token: i for i, token in enumerate(dict.fromkeys(tokens))}, merges


def clip_tokenizer_files(words: Iterable[str], context: int) -> dict[str, str]:
    """File name -> content of a CLIPTokenizer folder; `context` is the longest sequence."""
    vocabulary, merges = clip_vocabulary(words)
    special = {"bos_token": START, "eos_token": END, "unk_token": END, "pad_token": END, "mask_token": MASK}
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": context, "do_lower_case": True, **special}
    return {
        "vocab.json": json.dumps(vocabulary, ensure_ascii=False),
        "merges.txt": "\n".join(["#version: 0.2", *(" ".join(pair) for pair in merges)]) + "\n",
        "tokenizer_config.json": json.dumps(settings, indent=2),
        "special_tokens_map.json": json.dumps(special, indent=2),
    }


def bert_tokenizer_files(words: Iterable[str], context: int) -> dict[str, str]:
    """File name -> content of a BertTokenizer folder: special tokens, characters as fallback pieces, words."""
    pieces = sorted({piece for word in words for piece in _BERT_PIECE.findall(word.lower())})
    printable = [chr(code) for code in range(ord("!"), ord("~") + 1) if not chr(code).isupper()]
    inner = [f"##{letter}" for letter in printable if letter.isalnum()]
    tokens = dict.fromkeys([*BERT_SPECIAL, *printable, *inner, *pieces])
    special = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), BERT_SPECIAL, strict=True))
    settings = {"tokenizer_class": "BertTokenizer", "model_max_length": context, "do_lower_case": True, **special}
    return {
        "vocab.txt": "\n".join(tokens) + "\n",
        "tokenizer_config.json": json.dumps(settings, indent=2),
        "special_tokens_map.json": json.dumps(special, indent=2),
    }

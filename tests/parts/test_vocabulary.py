"""Closed vocabularies, read by transformers' own tokenizers."""

import json
import random
import subprocess
import sys

import pytest
import torch

from reid_lab.parts.backbones import closed_tokenizer, folder_tokenizer
from reid_lab.parts.vocabulary import bert_tokenizer_files, byte_alphabet, clip_tokenizer_files, clip_vocabulary

WORDS = [
    "read",
    "reading",
    "bread",
    "red",
    "reddish",
    "a",
    "banana",
    "ananas",
    "aaaa",
    "t-shirt",
    "woman's",
    "7",
    "café",
]


def write(folder, files):
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_text(content, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    from transformers import CLIPTokenizer

    return CLIPTokenizer.from_pretrained(write(tmp_path_factory.mktemp("v") / "clip", clip_tokenizer_files(WORDS, 16)))


def test_byte_alphabet_is_a_bijection():
    alphabet = byte_alphabet()
    assert sorted(alphabet) == list(range(256))
    assert len(set(alphabet.values())) == 256
    assert not any(letter.isspace() for letter in alphabet.values())
    assert alphabet[ord("a")] == "a"


@pytest.mark.parametrize("word", ["read", "reading", "bread", "red", "reddish", "a", "banana", "ananas", "aaaa", "7"])
def test_every_word_is_one_clip_token(clip, word):
    assert clip.tokenize(word) == [word + "</w>"]
    assert clip.tokenize(word.upper()) == [word + "</w>"]


def test_words_with_marks_become_their_pieces(clip):
    assert clip.decode(clip("café")["input_ids"][1:-1]) == "café"
    assert len(clip("café")["input_ids"]) == 3
    assert clip.tokenize("t-shirt") == ["t</w>", "-</w>", "shirt</w>"]
    assert clip.tokenize("woman's") == ["woman</w>", "'s</w>"]


def test_unlisted_text_still_has_tokens(clip):
    ids = clip("zebra ünïcode 漢 !?")["input_ids"]
    assert clip.decode(ids, skip_special_tokens=True).split() == ["zebra", "ünïcode", "漢", "!?"]


def test_the_end_token_has_the_highest_id_and_mask_and_start_stand_before(clip):
    vocabulary = clip.get_vocab()
    assert vocabulary["<|endoftext|>"] == len(vocabulary) - 1
    assert vocabulary["<|startoftext|>"] == len(vocabulary) - 2
    assert vocabulary["<|mask|>"] == len(vocabulary) - 3 == clip.mask_token_id
    assert clip.model_max_length == 16


def test_files_depend_on_the_words_alone():
    shuffled = WORDS + WORDS
    random.Random(0).shuffle(shuffled)
    assert clip_tokenizer_files(shuffled, 16) == clip_tokenizer_files(WORDS, 16)
    assert bert_tokenizer_files(shuffled, 16) == bert_tokenizer_files(WORDS, 16)


def test_many_random_words_are_single_tokens():
    draw = random.Random(1)
    words = {"".join(draw.choices("abr", k=draw.randint(1, 9))) for _ in range(300)}
    vocabulary, merges = clip_vocabulary(words)
    tokenizer = closed_tokenizer(clip_tokenizer_files(words, 8))
    ids = tokenizer(sorted(words), 8)
    assert ((ids != 0).sum(dim=1) == 3).all()
    assert ids[:, 1].tolist() == [vocabulary[word + "</w>"] for word in sorted(words)]
    assert len(set(merges)) == len(merges)


def test_bert_words_are_one_token_and_others_fall_back_to_characters(tmp_path):
    from transformers import BertTokenizer

    folder = write(tmp_path / "bert", bert_tokenizer_files(["red", "shirt", "t-shirt"], 16))
    tokenizer = BertTokenizer.from_pretrained(folder)
    assert tokenizer.tokenize("Red shirt") == ["red", "shirt"]
    assert tokenizer.tokenize("t-shirt, zoo") == ["t", "-", "shirt", ",", "z", "##o", "##o"]
    assert tokenizer.convert_tokens_to_ids(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]) == [0, 1, 2, 3, 4]
    ours = folder_tokenizer(folder, 1000)
    assert (ours.pad_id, ours.start_id, ours.end_id, ours.mask_id) == (0, 2, 3, 4)
    assert ours.words == range(5, len(tokenizer))
    assert ours(["red shirt red"], 4).tolist() == [[2, *tokenizer.convert_tokens_to_ids(["red", "shirt"]), 3]]


@pytest.mark.parametrize("make", [clip_tokenizer_files, bert_tokenizer_files])
def test_written_and_unwritten_files_tokenize_alike(make, tmp_path):
    files = make(WORDS, 12)
    texts = ["a red banana reading", "", "A woman's T-shirt! zebra", "red " * 20]
    written, unwritten = folder_tokenizer(write(tmp_path / "t", files), 9999), closed_tokenizer(files)
    assert torch.equal(written(texts, 12), unwritten(texts, 12))
    assert vars(written).keys() == vars(unwritten).keys()
    assert (written.size, written.words, written.mask_id) == (unwritten.size, unwritten.words, unwritten.mask_id)


def test_openai_s_vocabulary_gives_irra_s_mask_id(tmp_path):
    ordinary = {f"w{i}": i for i in range(49406)}
    vocabulary = {**ordinary, "<|startoftext|>": 49406, "<|endoftext|>": 49407}
    tokenizer = folder_tokenizer(write(tmp_path / "o", {"vocab.json": json.dumps(vocabulary)}), 49408)
    assert (tokenizer.mask_id, tokenizer.start_id, tokenizer.end_id, tokenizer.pad_id) == (49405, 49406, 49407, 0)
    assert tokenizer.words == range(1, 49405)


def test_a_tokenizer_opens_in_another_process(tmp_path):
    import pickle

    folder = write(tmp_path / "p", clip_tokenizer_files(WORDS, 12))
    tokenizer = folder_tokenizer(folder, 9999)
    expected = tokenizer(["red banana"], 6).tolist()
    (tmp_path / "t.pickle").write_bytes(pickle.dumps(tokenizer))
    code = f"import pickle; print(pickle.load(open({str(tmp_path / 't.pickle')!r}, 'rb'))(['red banana'], 6).tolist())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(expected)

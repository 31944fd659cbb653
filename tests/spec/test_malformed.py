"""Malformed specs and overrides, each with the exact lines that the user reads."""

# ruff: noqa: E501 - the lines are quoted whole

from __future__ import annotations

import pytest

from reid_lab.errors import SpecError
from reid_lab.spec.loader import load
from tests.spec.fakes import REGISTRIES

HEAD = """\
name: x
data: {name: pictures}
model: {name: irra}
"""

TRAIN = "length, batch, pairs, augment, optimizer, schedule, accumulate, clip_norm, stages, fit_on, init_from"
STAGE = "name, length, trainable, terms, optimizer, schedule"
BATCH = "sampler, size, instances, drop_last"
TOP = "name, description, published, seed, data, model, train, eval, checkpoint, runtime, tracking, extends"

LAUGHS = "a: &a [x,x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{above}: &{above} [{','.join([f'*{below}'] * 10)}]\n" for below, above in zip("abcdefgh", "bcdefghi", strict=True)
)

# id: (text, overrides, lines)
CASES: dict[str, tuple[str | bytes, tuple[str, ...], list[str]]] = {
    "tab": ("name: x\ntrain:\n\tbatch: 1\n", (), ["bad.yaml:3:1: bad YAML: a tab; indent with spaces"]),
    "unclosed list": (
        "name: [1, 2\ndata: 3\n",
        (),
        ["bad.yaml:2:5: bad YAML: did not find expected ',' or ']' (while parsing a flow sequence, begun at line 1)"],
    ),
    "unclosed quote": ("name: 'x\n", (), ["bad.yaml:2:1: bad YAML: the text ends inside quotes, begun at line 1"]),
    "colon in plain text": (
        "name: a: b\n",
        (),
        ["bad.yaml:1:8: bad YAML: a ':' is not expected here; is the indentation wrong, or does a text need quotes?"],
    ),
    "bad indentation": (
        "name: x\n data: y\n",
        (),
        ["bad.yaml:2:6: bad YAML: a ':' is not expected here; is the indentation wrong, or does a text need quotes?"],
    ),
    "reserved character": (
        "name: @x\n",
        (),
        ["bad.yaml:1:7: bad YAML: a value cannot start with '@'; put it in quotes"],
    ),
    "control character": ("name: x\ndata: \x07\n", (), ["bad.yaml:2:7: the character '\\x07' is not allowed in YAML"]),
    "unknown escape": (
        'name: "\\q"\n',
        (),
        ["bad.yaml:1:8: bad YAML: found unknown escape character (while parsing a quoted scalar)"],
    ),
    "unclosed mapping": (
        "{name: x",
        (),
        ["bad.yaml:2:1: bad YAML: did not find expected ',' or '}' (while parsing a flow mapping, begun at line 1)"],
    ),
    "item among keys": (
        "- a\nname: x\n",
        (),
        [
            "bad.yaml:2:1: bad YAML: did not find expected '-' indicator (while parsing a block collection, begun at line 1)"
        ],
    ),
    "two documents": ("name: x\n---\nname: y\n", (), ["bad.yaml:2:1: a second document; one file is one spec"]),
    "undefined alias": ("name: *x\n", (), ["bad.yaml:1:7: the alias '*x' has no anchor '&x' before it"]),
    "alias inside its anchor": ("name: &x [*x]\n", (), ["bad.yaml:1:11: the alias '*x' stands inside its own anchor"]),
    "billion laughs": (LAUGHS, (), ["bad.yaml:5:8: more than 20000 values once its aliases are followed"]),
    "too deep": ("a: " + "[" * 60 + "]" * 60, (), ["bad.yaml:1:44: nested deeper than 40 levels"]),
    "foreign tag": (
        HEAD + "seed: !!python/object/apply:os.system [ls]\n",
        (),
        ["bad.yaml:4:7: the tag '!!python/object/apply:os.system' is not allowed"],
    ),
    "tag that does not fit": (HEAD + "seed: !!int six\n", (), ["bad.yaml:4:7: 'six' is no int"]),
    "not utf-8": (b"name: x\ndata: \xff\n", (), ["bad.yaml:2:7: not UTF-8 text"]),
    "too large": ("#" * (1 << 20) + "\n", (), ["bad.yaml: larger than 1024 KiB; a spec is a few kilobytes of text"]),
    "empty": ("", (), ["bad.yaml:1:1: the file is empty"]),
    "only a comment": ("# nothing\n", (), ["bad.yaml:1:1: the file is empty"]),
    "a list": ("- name\n- data\n", (), ["bad.yaml:1:1: a mapping is expected at the top"]),
    "a word": ("irra\n", (), ["bad.yaml:1:1: a mapping is expected at the top"]),
    "unknown key": (
        HEAD + "train:\n  batch:\n    sise: 4\n",
        (),
        [f"bad.yaml:6:5: train.batch.sise: no such key; did you mean 'size'? (allowed: {BATCH})"],
    ),
    "unknown key at the top": (
        HEAD + "trian: {}\n",
        (),
        [f"bad.yaml:4:1: trian: no such key; did you mean 'train'? (allowed: {TOP})"],
    ),
    "unknown key without neighbour": (HEAD + "zzz: 1\n", (), [f"bad.yaml:4:1: zzz: no such key (allowed: {TOP})"]),
    "duplicate key": (
        HEAD + "train:\n  accumulate: 1\n  accumulate: 2\n",
        (),
        ["bad.yaml:6:3: 'accumulate' is given twice; first at line 5"],
    ),
    "duplicate section": (
        HEAD + "model: {name: other}\n",
        (),
        ["bad.yaml:4:1: 'model' is given twice; first at line 3"],
    ),
    "number as key": (HEAD + "1: 2\n", (), ["bad.yaml:4:1: a key must be text, not 1"]),
    "list as key": (HEAD + "? [a]\n: 1\n", (), ["bad.yaml:4:3: a key must be text, not a collection"]),
    "merge key": (
        HEAD + "train: &t {accumulate: 2}\neval:\n  <<: *t\n",
        (),
        [
            "bad.yaml:6:3: eval.<<: no such key; YAML 1.2 has no merge keys, use extends (allowed: protocol, queries, gallery_role, removed, no_match, ap, gallery, dropped, expansion, rerank, every, select_on, metric, patience, batch)"
        ],
    ),
    "nothing but a name": (
        "name: x\n",
        (),
        [
            "bad.yaml:1:1: data: missing; expected a mapping (name, root, val, image_size, aliases)",
            "bad.yaml:1:1: model: missing; expected a mapping (name)",
        ],
    ),
    "name missing": (
        "data: {name: pictures}\nmodel: {name: irra}\n",
        (),
        ["bad.yaml:1:1: name: missing; expected a string"],
    ),
    "model without name": (
        "name: x\ndata: {name: pictures}\nmodel: {backbone: tiny-clip}\n",
        (),
        ["bad.yaml:3:1: model.name: missing (allowed: irra, other)"],
    ),
    "required knob missing": (
        "name: x\ndata: {name: pictures}\nmodel: {name: other}\n",
        (),
        ["bad.yaml:3:1: model.width: missing; expected an integer"],
    ),
    "word for an integer": (
        HEAD + "train: {batch: {size: six}}\n",
        (),
        ["bad.yaml:4:23: train.batch.size: expected an integer >= 1, got the string 'six'"],
    ),
    "quoted number": (HEAD + 'seed: "3"\n', (), ["bad.yaml:4:7: seed: expected an integer >= 0, got the string '3'"]),
    "fraction for an integer": (
        HEAD + "train: {accumulate: 1.5}\n",
        (),
        ["bad.yaml:4:21: train.accumulate: expected an integer >= 1, got 1.5"],
    ),
    "truth for an integer": (HEAD + "seed: true\n", (), ["bad.yaml:4:7: seed: expected an integer >= 0, got true"]),
    "no is a word": (
        HEAD + "train: {batch: {drop_last: no}}\n",
        (),
        ["bad.yaml:4:28: train.batch.drop_last: expected true or false, got the string 'no'"],
    ),
    "number for text": (
        "name: 3\ndata: {name: pictures}\nmodel: {name: irra}\n",
        (),
        ["bad.yaml:1:7: name: expected a string, got 3"],
    ),
    "null section": (HEAD + "train:\n", (), [f"bad.yaml:4:7: train: expected a mapping ({TRAIN}), got null"]),
    "word for a section": (
        HEAD + "train: fast\n",
        (),
        [f"bad.yaml:4:8: train: expected a mapping ({TRAIN}), got the string 'fast'"],
    ),
    "list for a section": (
        HEAD + "train: [1]\n",
        (),
        [f"bad.yaml:4:8: train: expected a mapping ({TRAIN}), got a list of 1"],
    ),
    "mapping for a number": (
        HEAD + "train: {accumulate: {a: 1}}\n",
        (),
        ["bad.yaml:4:21: train.accumulate: expected an integer >= 1, got a mapping"],
    ),
    "number for a list": (
        HEAD + "train: {stages: 3}\n",
        (),
        [f"bad.yaml:4:17: train.stages: expected a list (each a mapping ({STAGE})), got 3"],
    ),
    "wrong list item": (
        HEAD + "train:\n  stages:\n  - {name: a, length: {epochs: 1}, trainable: [a, 3]}\n",
        (),
        ["bad.yaml:6:51: train.stages.0.trainable.1: expected a string, got 3"],
    ),
    "short pair": (
        "name: x\ndata: {name: pictures, image_size: [384]}\nmodel: {name: irra}\n",
        (),
        ["bad.yaml:2:36: data.image_size: expected a list of 2 (each an integer >= 1) or null, got a list of 1"],
    ),
    "wrong slot": (
        "name: x\ndata: {name: pictures}\nmodel: {name: irra, adapter: 4}\n",
        (),
        ["bad.yaml:3:30: model.adapter: expected a mapping (rank, layers) or null, got 4"],
    ),
    "infinity": (
        HEAD + "train: {optimizer: {lr: .inf}}\n",
        (),
        ["bad.yaml:4:25: train.optimizer.lr: expected a finite number, got .inf"],
    ),
    "not a number": (
        HEAD + "train: {clip_norm: .nan}\n",
        (),
        ["bad.yaml:4:20: train.clip_norm: expected a finite number, got .nan"],
    ),
    "number that overflows": (
        HEAD + "train: {optimizer: {lr: 1e999}}\n",
        (),
        ["bad.yaml:4:25: train.optimizer.lr: expected a finite number, got .inf"],
    ),
    "wrong free value": (
        HEAD + "published:\n- {source: paper, metrics: {R1: high}}\n",
        (),
        ["bad.yaml:5:33: published.0.metrics.R1: expected a number, got the string 'high'"],
    ),
    "below the range": (
        HEAD + "train:\n  batch:\n    size: 0\n",
        (),
        ["bad.yaml:6:11: train.batch.size: expected an integer >= 1, got 0"],
    ),
    "above the range": (
        HEAD + "train: {augment: {flip: 1.5}}\n",
        (),
        ["bad.yaml:4:25: train.augment.flip: expected a number from 0 to 1, got 1.5"],
    ),
    "negative rate": (
        HEAD + "train: {optimizer: {lr: -1e-3}}\n",
        (),
        ["bad.yaml:4:25: train.optimizer.lr: expected a number > 0, got -0.001"],
    ),
    "range inside a slot": (
        "name: x\ndata: {name: pictures}\nmodel: {name: irra, adapter: {rank: 100}}\n",
        (),
        ["bad.yaml:3:37: model.adapter.rank: expected an integer from 1 to 64, got 100"],
    ),
    "pair out of order": (
        HEAD + "train: {augment: {erase_area: [0.5, 0.1]}}\n",
        (),
        ["bad.yaml:4:31: train.augment.erase_area: the least (0.5) is above the most (0.1)"],
    ),
    "unknown choice": (
        HEAD + "runtime: {precision: fp23}\n",
        (),
        ["bad.yaml:4:22: runtime.precision: 'fp23' is not allowed; did you mean 'fp32'? (allowed: fp32, bf16, fp16)"],
    ),
    "unknown device": (
        HEAD + "runtime: {device: gpu}\n",
        (),
        ["bad.yaml:4:19: runtime.device: unknown device 'gpu'; allowed: auto, cpu, cuda, cuda:0; did you mean 'cpu'?"],
    ),
    "unknown choice or section": (
        "name: x\ndata: {name: pictures, val: nne}\nmodel: {name: irra}\n",
        (),
        [
            "bad.yaml:2:29: data.val: 'nne' is not allowed; did you mean 'none'? (allowed: a mapping (identities, seed), authors, none)"
        ],
    ),
    "unknown architecture": (
        "name: x\ndata: {name: pictures}\nmodel: {name: ira}\n",
        (),
        ["bad.yaml:3:15: model.name: 'ira' is not allowed; did you mean 'irra'? (allowed: irra, other)"],
    ),
    "unknown dataset": (
        "name: x\ndata: {name: picture}\nmodel: {name: irra}\n",
        (),
        ["bad.yaml:2:14: data.name: 'picture' is not allowed; did you mean 'pictures'? (allowed: pictures)"],
    ),
    "unknown backbone": (
        "name: x\ndata: {name: pictures}\nmodel: {name: irra, backbone: tiny-clipp}\n",
        (),
        [
            "bad.yaml:3:31: model.backbone: unknown backbone 'tiny-clipp'; allowed: tiny-clip, tiny-vit; did you mean 'tiny-clip'?"
        ],
    ),
    "unknown backbone and other faults of the section": (
        "name: x\ndata: {name: pictures}\nmodel: {name: irra, backbone: resnet, temperature: 0, id_weight: 13}\n",
        (),
        [
            "bad.yaml:3:31: model.backbone: unknown backbone 'resnet'; allowed: tiny-clip, tiny-vit",
            "bad.yaml:3:52: model.temperature: expected a number > 0, got 0",
            "bad.yaml:3:66: model.id_weight: 13 brings bad luck",
        ],
    ),
    "architecture is a number": (
        "name: x\ndata: {name: pictures}\nmodel: {name: 3}\n",
        (),
        ["bad.yaml:3:15: model.name: expected a name, got 3 (allowed: irra, other)"],
    ),
    "unknown protocol": (
        HEAD + "eval: {protocol: text2image}\n",
        (),
        [
            "bad.yaml:4:18: eval.protocol: 'text2image' is not allowed; did you mean 'text_to_image'? (allowed: text_to_image, image_to_image)"
        ],
    ),
    "two lengths": (
        HEAD + "train:\n  length: {epochs: 1, steps: 2}\n",
        (),
        ["bad.yaml:5:3: train.length: exactly one of epochs, steps, fraction is needed; got epochs, steps"],
    ),
    "a length of zero": (
        HEAD + "train: {length: {steps: 0}}\neval: {every: {epochs: 0}}\ncheckpoint: {every: {fraction: 0}}\n",
        (),
        [
            "bad.yaml:4:17: train.length: must be above 0",
            "bad.yaml:5:15: eval.every: must be above 0",
            "bad.yaml:6:21: checkpoint.every: must be above 0",
        ],
    ),
    "a fraction of nothing": (
        HEAD + "train: {length: {fraction: 0.5}}\n",
        (),
        [
            "bad.yaml:4:17: train.length: a fraction of the planned training is meant elsewhere; here epochs or steps plan it"
        ],
    ),
    "no length": (
        HEAD + "eval:\n  every: {}\n",
        (),
        ["bad.yaml:5:3: eval.every: exactly one of epochs, steps, fraction is needed; got none"],
    ),
    "unknown kind of schedule": (
        HEAD + "train: {schedule: {kind: chian}}\n",
        (),
        ["bad.yaml:4:26: train.schedule.kind: 'chian' is not allowed; did you mean 'chain'? (allowed: chain, step)"],
    ),
    "schedule without kind": (
        HEAD + "train: {schedule: {value: 1}}\n",
        (),
        ["bad.yaml:4:9: train.schedule.kind: missing (allowed: chain, step)"],
    ),
    "schedule without segments": (
        HEAD + "train: {schedule: {kind: chain, segments: []}}\n",
        (),
        [
            "bad.yaml:4:43: train.schedule.segments: expected a list of at least 1 (each a mapping (start, end, length, shape, elapsed)), got an empty list"
        ],
    ),
    "unknown slot variant": (
        "name: x\ndata: {name: pictures}\nmodel: {name: irra, pooling: {kind: atention}}\n",
        (),
        [
            "bad.yaml:3:37: model.pooling.kind: 'atention' is not allowed; did you mean 'attention'? (allowed: mean, attention)"
        ],
    ),
    "knob of another variant": (
        "name: x\ndata: {name: pictures}\nmodel: {name: irra, pooling: {kind: mean, heads: 2}}\n",
        (),
        ["bad.yaml:3:43: model.pooling.heads: no such key (allowed: kind)"],
    ),
    "batch not whole": (
        HEAD + "train:\n  batch: {sampler: identity, size: 10, instances: 4}\n",
        (),
        ["bad.yaml:5:36: train.batch.size: 10 is not a multiple of instances (4)"],
    ),
    "stage name twice": (
        HEAD + "train:\n  stages:\n  - {name: a, length: {epochs: 1}}\n  - {name: a, length: {epochs: 1}}\n",
        (),
        ["bad.yaml:7:12: train.stages.1.name: an earlier stage is called 'a' too"],
    ),
    "unknown term": (
        HEAD + "train:\n  stages:\n  - {name: a, length: {epochs: 1}, terms: [sdm, idd]}\n",
        (),
        ["bad.yaml:6:49: train.stages.0.terms.1: unknown loss term 'idd'; allowed: id, mlm, sdm; did you mean 'id'?"],
    ),
    "no val to select on": (
        "name: x\ndata: {name: pictures, val: none}\nmodel: {name: irra}\n",
        (),
        ["bad.yaml:2:29: eval.select_on: 'val' needs a validation split, but data.val is none (allowed: last, test)"],
    ),
    "no val, val asked": (
        "name: x\ndata: {name: pictures, val: none}\nmodel: {name: irra}\neval: {select_on: val}\n",
        (),
        ["bad.yaml:4:19: eval.select_on: 'val' needs a validation split, but data.val is none (allowed: last, test)"],
    ),
    "nothing to select by": (
        HEAD + "eval: {protocol: null}\n",
        (),
        ["bad.yaml:4:18: eval.select_on: 'val' needs a protocol, but eval.protocol is null (allowed: last)"],
    ),
    "extends a missing file": ("extends: base.yaml\n", (), ["bad.yaml:1:10: extends: base.yaml: no such file"]),
    "extends itself": (
        "extends: bad.yaml\n" + HEAD,
        (),
        ["bad.yaml:1:10: extends: a file extends itself (bad.yaml -> bad.yaml)"],
    ),
    "extends a number": (
        "extends: 3\n" + HEAD,
        (),
        ["bad.yaml:1:10: extends: expected a file name or a list of file names"],
    ),
    "extends nothing": (
        "extends: []\n" + HEAD,
        (),
        ["bad.yaml:1:10: extends: expected a file name or a list of file names"],
    ),
    "extends a folder": ("extends: .\n" + HEAD, (), ["bad.yaml:1:10: extends: .: not a file"]),
    "missing base and own fault": (
        "extends: base.yaml\nseed: -1\nmodel: {name: ira}\n",
        (),
        [
            "bad.yaml:1:10: extends: base.yaml: no such file",
            "bad.yaml:2:7: seed: expected an integer >= 0, got -1",
            "bad.yaml:3:15: model.name: 'ira' is not allowed; did you mean 'irra'? (allowed: irra, other)",
        ],
    ),
    "override without value": (HEAD, ("seed",), ["--set seed: expected KEY=VALUE, such as train.batch.size=64"]),
    "override without key": (HEAD, ("=1",), ["--set =1: expected KEY=VALUE, such as train.batch.size=64"]),
    "override of an unknown key": (
        HEAD,
        ("train.batch.sise=4",),
        [f"--set train.batch.sise=4:13: train.batch.sise: no such key; did you mean 'size'? (allowed: {BATCH})"],
    ),
    "override out of range": (
        HEAD,
        ("train.batch.size=0",),
        ["--set train.batch.size=0:18: train.batch.size: expected an integer >= 1, got 0"],
    ),
    "override of a wrong type": (
        HEAD,
        ("train.optimizer={lr: fast}",),
        ["--set train.optimizer={lr: fast}:22: train.optimizer.lr: expected a number > 0, got the string 'fast'"],
    ),
    "override that is no YAML": (
        HEAD,
        ("seed=[1",),
        [
            "--set seed=[1:6: bad YAML: did not find expected ',' or ']' (while parsing a flow sequence, begun at line 1)"
        ],
    ),
    "override of a missing list item": (
        HEAD,
        ("train.stages.0.name=a",),
        [f"--set train.stages.0.name=a:14: train.stages: expected a list (each a mapping ({STAGE})), got a mapping"],
    ),
    "override through a value": (
        HEAD,
        ("seed.low=1",),
        ["--set seed.low=1:6: seed: expected an integer >= 0, got a mapping"],
    ),
    "override of extends": (HEAD, ("extends=a.yaml",), ["--set extends=a.yaml: extends stands in files only"]),
    "extend for extends": (
        HEAD + "extend: a.yaml\n",
        (),
        [f"bad.yaml:4:1: extend: no such key; did you mean 'extends'? (allowed: {TOP})"],
    ),
    "everything at once": (
        "name: x\ndata: {name: picture}\nmodel:\n  name: irra\n  temperature: cold\ntrain:\n  batch: {sise: 4, size: 0}\nruntime: {precision: fp23}\n",
        ("seed=one",),
        [
            "bad.yaml:2:14: data.name: 'picture' is not allowed; did you mean 'pictures'? (allowed: pictures)",
            "bad.yaml:5:16: model.temperature: expected a number > 0, got the string 'cold'",
            f"bad.yaml:7:11: train.batch.sise: no such key; did you mean 'size'? (allowed: {BATCH})",
            "bad.yaml:7:26: train.batch.size: expected an integer >= 1, got 0",
            "bad.yaml:8:22: runtime.precision: 'fp23' is not allowed; did you mean 'fp32'? (allowed: fp32, bf16, fp16)",
            "--set seed=one:6: seed: expected an integer >= 0, got the string 'one'",
        ],
    ),
}


@pytest.mark.parametrize(("text", "sets", "lines"), CASES.values(), ids=CASES.keys())
def test_each_fault_is_one_line_with_its_place(tmp_path, monkeypatch, text, sets, lines):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SpecError) as caught:
        load("bad.yaml", sets, registries=REGISTRIES)
    assert [str(fault) for fault in caught.value.faults] == lines
    assert all("\n" not in line for line in lines)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.yaml"]

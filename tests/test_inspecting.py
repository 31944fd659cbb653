"""`reid-lab inspect`: modules, operations, groups, one step and checks of a spec, a run or a file of weights."""

import json
import math
import re

import pytest
import torch
from safetensors.torch import save_file

from reid_lab.architectures import clip_mer
from reid_lab.architectures.irra import Irra
from reid_lab.catalogue import load_spec
from reid_lab.contracts import Facts, GroupRule
from reid_lab.engine import checkpoint
from reid_lab.inspecting.model import examine
from reid_lab.parts.lora import LowRankLinear


@pytest.fixture
def looked(lab):
    """`reid-lab inspect` as JSON, of the lab's file or another target."""

    def call(*options, target=None):
        done = lab.call("inspect", target or str(lab.file), "--format", "json", *options, "--runs", str(lab.runs))
        return done.code, json.loads("\n".join(done.out))

    return call


def failed(found):
    return [check["name"] for check in found["checks"] if not check["passed"]]


def test_a_file_as_json_is_complete(looked):
    code, found = looked("--identities", "24", "--set", "data.image_size=[32,16]")
    assert (code, failed(found)) == (0, [])
    assert found["facts"]["identities"] == 24
    assert found["inputs"] == {"rgb": [3, 32, 16], "caption": [32]}
    paths = {module["path"]: module for module in found["modules"]}
    assert paths["trunk.vision.blocks.1.mlp.fc1"]["shapes"]["rgb"] == [4, 9, 64]
    assert "caption" not in paths["trunk.vision"]["shapes"]
    assert paths["identity.linear"]["shapes"] == {"training": [4, 24]}
    whole = found["parameters"]
    assert paths[""]["elements"] == whole["elements"] == whole["trainable_elements"]
    assert sum(group["elements"] for group in found["groups"]) == whole["elements"]
    names = [name for group in found["groups"] for name in group["names"]]
    assert len(names) == len(set(names)) == whole["tensors"]
    rates = {group["name"]: (group["lr"], group["weight_decay"]) for group in found["groups"]}
    assert rates["trunk"] == pytest.approx((1e-4, 4e-5))
    assert rates["trunk.bias"] == pytest.approx((2e-4, 0))
    assert rates["head"] == pytest.approx((5e-4, 4e-5))


def test_one_step_has_every_term_and_the_weighted_total(looked):
    _, found = looked("--identities", "24", "--set", "model.id=0.5")
    terms = {term["name"]: term for term in found["terms"]}
    assert terms.keys() == {"sdm", "id", "mlm"}
    assert terms["id"]["value"] == pytest.approx(math.log(24), abs=0.1)
    assert terms["id"]["weighted"] == pytest.approx(0.5 * terms["id"]["value"])
    assert found["total"] == pytest.approx(sum(term["weighted"] for term in terms.values()), rel=1e-6)
    assert all(group["gradient_norm"] > 0 for group in found["groups"])
    assert found["training_flops"] > 3 * found["subsets"][-1]["flops"] * 0.9


def test_operations_are_those_of_the_formula(looked):
    """Two for each multiply-add of a ViT of 2 blocks, 9 tokens, 32 wide; the image is 32x16 in patches of 8."""
    _, found = looked("--identities", "5", "--set", "data.image_size=[32,16]")
    tokens, width, hidden = 9, 32, 64
    block = 2 * tokens * width * (3 * width + width + 2 * hidden) + 2 * 2 * tokens * tokens * width
    patches = 2 * 8 * (3 * 8 * 8) * width
    assert found["subsets"][0]["roles"] == ["rgb"]
    assert found["subsets"][0]["flops"] == patches + 2 * block + 2 * width * 16
    assert found["subsets"][2]["flops"] == found["subsets"][0]["flops"] + found["subsets"][1]["flops"]


def test_stages_have_groups_of_their_own(looked):
    stages = (
        "train.stages=[{name: heads, length: {epochs: 1}, trainable: ['mlm.*'], optimizer: {lr: 1.0}},"
        " {name: all, length: {epochs: 1}}]"
    )
    code, found = looked("--identities", "5", "--set", stages)
    assert code == 0
    heads = [group for group in found["groups"] if group["stage"] == "heads"]
    assert {name.split(".")[0] for group in heads for name in group["names"]} == {"mlm"}
    assert {group["name"]: group["lr"] for group in heads}["head"] == pytest.approx(5.0)
    assert sum(g["elements"] for g in found["groups"] if g["stage"] == "all") == found["parameters"]["elements"]


def test_the_table_reads_from_top_to_bottom(lab):
    done = lab.call("inspect", str(lab.file), "--identities", "7", "--depth", "1")
    assert done.code == 0
    assert "7 identities stand in for the data, as asked: 7 identities, 1 cameras" in done.out
    assert any(line.startswith("  trunk") for line in done.out)
    assert not any(line.startswith("    vision") for line in done.out)
    checks = [line for line in done.out if line[:1] in "✓✗"]
    assert len([line for line in checks if line.startswith("✓")]) >= 7
    assert not [line for line in checks if line.startswith("✗")]


def test_the_graph_has_an_edge_for_every_step(lab):
    done = lab.call("inspect", str(lab.file), "--identities", "7", "--format", "mermaid")
    assert done.out[0] == "flowchart LR"
    nodes = {m[1]: m[2] for line in done.out if (m := re.fullmatch(r"  (n\d+)\W+(.+?)\"\W+", line))}
    edges = [m.groups() for line in done.out if (m := re.fullmatch(r"  (n\d+) -->(?:\|[^|]*\|)? (n\d+)", line))]
    assert len(nodes) + len(edges) + 1 == len(done.out)
    told = {(nodes[a], nodes[b]) for a, b in edges}
    assert ("trunk.vision<br>ClipVision", "trunk.vision_projection<br>Linear") in told
    assert ("trunk.text_projection<br>Linear", "embedding") in told
    assert ("mlm_logits (value)", "mlm loss") in told
    assert ("sdm loss", "total") in told


def test_data_that_are_not_there_are_stood_in_for(looked):
    absent = "data={name: cuhk_pedes, root: nowhere, image_size: [32, 16]}"
    code, found = looked("--set", absent)
    assert code == 0
    assert found["facts"]["identities"] == 100
    assert found["facts"]["note"].startswith("100 identities stand in for the data (--identities N): ")
    assert "nowhere" in found["facts"]["note"]


def test_data_that_are_there_are_asked(looked):
    _, found = looked()
    assert (found["facts"]["identities"], found["facts"]["note"]) == (24, "facts of synthetic")
    assert found["inputs"]["rgb"] == [3, 32, 16]


def test_a_failed_check_is_told_and_ends_with_1(lab, looked, monkeypatch):
    values = Irra.values
    monkeypatch.setattr(Irra, "values", lambda *a: {**values(*a), "scale": torch.tensor(math.nan)})
    code, found = looked("--identities", "7")
    assert code == 1
    assert "losses are finite" in failed(found)
    assert "gradients are finite" in failed(found)
    told = lab.call("inspect", str(lab.file), "--identities", "7").out
    assert "✗ losses are finite: sdm" in told


def test_groups_that_overlap_are_found(looked, monkeypatch):
    monkeypatch.setattr(Irra, "group_rule", lambda self, name: GroupRule("all", float(len(name))))
    code, found = looked("--identities", "7")
    assert (code, failed(found)) == (1, ["groups are disjoint and complete"])
    assert any("has two rules" in check["detail"] for check in found["checks"])


def test_embeddings_of_another_length_are_found(looked, monkeypatch):
    embed = Irra.embed
    monkeypatch.setattr(Irra, "embed", lambda self, batch: 2 * embed(self, batch))
    code, found = looked("--identities", "7")
    assert (code, failed(found)) == (1, ["every subset of the inputs has embeddings of norm 1"])


def test_a_parameter_that_nothing_reaches_is_found(looked, monkeypatch):
    build = Irra.__init__

    def more(self, *given):
        build(self, *given)
        self.idle = torch.nn.Linear(2, 2)

    monkeypatch.setattr(Irra, "__init__", more)
    code, found = looked("--identities", "7")
    assert (code, failed(found)) == (1, ["a gradient reaches every trainable parameter, those declared dead aside"])


PLAIN = "adapters with B = 0 change no embedding"


@pytest.fixture
def adapted(lab, looked):
    """`reid-lab inspect` of CLIP+MER, adapters and all."""
    model = f"model={{name: clip_mer, backbone: {lab.clip}, modalities: [rgb, nir, caption], fusion_dim: 32}}"
    given = ("--identities", "7", "--set", "data.image_size=[32,16]", "--set", model)
    return lambda *sets: looked(*given, *(word for text in sets for word in ("--set", text)))


def test_new_adapters_change_nothing(adapted):
    code, found = adapted()
    assert (code, failed(found)) == (0, [])
    assert PLAIN in [check["name"] for check in found["checks"]]


def test_operations_of_adapters_are_those_of_the_formula(adapted):
    """Down and up for each of two image adapters of rank 4: nine tokens, two blocks, a third of qkv at a time."""
    with_adapters, without = (adapted(*sets)[1]["subsets"][0] for sets in ((), ("model.mer=null",)))
    assert with_adapters["roles"] == without["roles"] == ["rgb"]
    tokens, width, hidden, ranks = 9, 32, 64, 2 * 4
    qkv, out, mlp = 3 * ranks * (width + 3 * width), ranks * 2 * width, 2 * ranks * (width + hidden)
    assert with_adapters["flops"] - without["flops"] == 2 * 2 * tokens * (qkv + out + mlp)


def test_adapters_that_do_not_begin_at_zero_are_found(adapted, monkeypatch):
    build = LowRankLinear.__init__

    def moved(self, *given):
        build(self, *given)
        torch.nn.init.constant_(self.lora_up, 0.01)

    monkeypatch.setattr(LowRankLinear, "__init__", moved)
    code, found = adapted()
    assert (code, failed(found)) == (1, [PLAIN])
    (check,) = (check for check in found["checks"] if not check["passed"])
    assert check["detail"] == "rgb, nir"  # no adapters in the text tower


@pytest.mark.parametrize(("offset", "faults"), [(0.0, []), (0.01, [PLAIN])])
def test_adapters_that_have_learned_are_set_to_zero_for_the_check(lab, monkeypatch, offset, faults):
    facts = Facts(identities=7, roles=("rgb", "caption"), image_size=(32, 16))
    knobs = clip_mer.Spec(backbone=str(lab.clip), modalities=("rgb", "caption"), fusion_dim=32)
    model = clip_mer.ClipMer(knobs, facts, 0)
    adapters = [module for module in model.modules() if isinstance(module, LowRankLinear)]
    for adapter in adapters:
        torch.nn.init.constant_(adapter.lora_up, 0.01)
    forward = LowRankLinear.forward

    def routed(self, x, route):
        return forward(self, x, route) if route is None else forward(self, x, route) + offset

    monkeypatch.setattr(LowRankLinear, "forward", routed)
    spec = load_spec(lab.file).spec
    assert failed(examine(model, spec, facts, trained=True)) == faults
    assert adapters
    assert all(bool((adapter.lora_up == 0.01).all()) for adapter in adapters)


def test_a_run_with_its_selected_weights(lab, looked):
    assert lab.run().code == 0
    code, found = looked(target=lab.only.run_id)
    assert code == 0
    assert found["weights"] == "selected, best.safetensors"
    assert found["facts"]["identities"] == 24
    told = lab.call("inspect", lab.only.run_id, "--set", "seed=1", "--runs", str(lab.runs))
    assert (told.code, len(told.complaints)) == (2, 1)

    weights = lab.only.selected
    code, file = looked(target=str(weights))
    assert code == 0
    assert file["facts"]["step"] >= 1
    assert file["parameters"] == {k: found["parameters"][k] for k in ("tensors", "elements")}
    assert {t["name"].removeprefix("model/") for t in file["tensors"]} > {"identity.linear.weight"}


def test_files_of_weights(lab, looked, tmp_path):
    tensors = {"a.weight": torch.ones(2, 3), "b": torch.zeros(4, dtype=torch.float16)}
    save_file(tensors, tmp_path / "x.safetensors")
    torch.save({"state_dict": {f"module.{k}": v for k, v in tensors.items()}}, tmp_path / "x.pth")
    for name in ("x.safetensors", "x.pth"):
        code, found = looked(target=name)
        assert code == 0
        assert found["parameters"] == {"tensors": 2, "elements": 10}
        listed = {t["name"]: (t["shape"], t["dtype"]) for t in found["tensors"]}
        assert listed == {"a.weight": ([2, 3], "float32"), "b": ([4], "float16")}
    checkpoint.save(tmp_path / "nan.safetensors", {"model/a": torch.tensor([math.nan])}, {"step": 3})
    code, found = looked(target="nan.safetensors")
    assert (code, failed(found), found["facts"]) == (1, ["every tensor is finite"], {"step": 3})
    assert "a.weight  2×3    float32  6" in lab.call("inspect", "x.pth").out


@pytest.mark.parametrize("name", ["absent.safetensors", "absent.yaml", "absent"])
def test_what_is_not_there_is_one_line(lab, name):
    done = lab.call("inspect", name)
    assert done.code == 2
    assert len(done.complaints) == 1


def test_damaged_files_are_one_line(lab, tmp_path):
    checkpoint.save(tmp_path / "whole.safetensors", {"model/a": torch.ones(50)}, {"step": 3})
    content = (tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[:-30])
    (tmp_path / "bent.safetensors").write_bytes(content[:-1] + b"\x01")
    for name in ("cut.safetensors", "bent.safetensors"):
        done = lab.call("inspect", name)
        assert (done.code, len(done.complaints)) == (2, 1), done.err
    assert lab.call("inspect", "whole.safetensors", "--format", "mermaid").code == 2

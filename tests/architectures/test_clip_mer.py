"""CLIP+MER against a plain reference that is written from the design document, and its own switches."""

import math

import pytest
import torch
import torch.nn.functional as F
from pydantic import ValidationError

from reid_lab.architectures.clip_mer import (
    AlignmentSpec,
    ClipMer,
    FusionSpec,
    IdentitySpec,
    MerSpec,
    SemanticSpec,
    Spec,
)
from reid_lab.contracts import Batch, Facts, Input
from reid_lab.errors import DataError, SpecError
from reid_lab.parts import backbones
from reid_lab.parts.groups import group_sizes
from reid_lab.schedules import Progress
from reid_lab.seeding import derive, keys

FACTS = Facts(identities=100, image_size=(32, 16), roles=("rgb", "nir", "cpencil", "sketch", "caption"))
NOW = Progress(0, 10, 100)
CAPTIONS = ["a man in red", "a woman wearing black trousers", "the man with white shoes", "a blue shirt"]
PIDS = torch.tensor([7, 3, 7, 98])


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.fixture
def make(clip_folder):
    return lambda facts=FACTS, seed=0, **knobs: ClipMer(Spec(backbone=clip_folder, **knobs), facts, seed)


def disturbed(model, scale=0.05):
    """Every parameter moved a little, so that zeros hide nothing."""
    with torch.no_grad():
        for name, value in model.named_parameters():
            generator = torch.Generator().manual_seed(derive(name))
            value += scale * torch.randn(value.shape, generator=generator)
    return model


def batch(model, **rows):
    """Four groups; a role's items stand in the groups `rows[role]`, by default in all."""
    inputs = {}
    for number, (role, want) in enumerate(model.inputs.items()):
        there = torch.tensor(rows.get(role, range(4)), dtype=torch.int64)
        if not len(there):
            continue
        if want.tokenize is None:
            generator = torch.Generator().manual_seed(number)
            values = torch.randn(4, want.channels, *want.size, generator=generator)[there]
        else:
            values = want.tokenize([CAPTIONS[row] for row in there])
        inputs[role] = Input(values, there)
    return Batch({"pids": PIDS, "keys": keys(0, 0, torch.arange(4))}, inputs)


def run(model, given):
    values = model.values(model.encode(given), NOW)
    found = {}
    for term in model.terms:
        out = term.fn(**{need: values[need] for need in term.needs})
        found[term.name] = out.total / out.count
    return values, found


class Reference:
    """The document's system written with plain tensors: one image, one modality, one layer after the other."""

    def __init__(self, model, rank_scale):
        self.p = {name: value.detach() for name, value in model.state_dict().items()}
        self.scale = rank_scale
        self.heads = model.vision.blocks[0].attention.heads
        self.text_heads = model.text.tower.blocks[0].attention.heads

    def linear(self, x, name, adapter=None):
        y = F.linear(x, self.p[f"{name}.weight"], self.p.get(f"{name}.bias"))
        down, up = self.p.get(f"{name}.lora_down"), self.p.get(f"{name}.lora_up")
        if adapter is None or down is None:
            return y
        deltas = [self.scale * (x @ down[k, adapter].T @ up[k, adapter]) for k in range(len(down))]
        return y + torch.cat(deltas, dim=-1)  # q, k and v by themselves, or the one there is

    def norm(self, x, name):
        return F.layer_norm(x, x.shape[-1:], self.p[f"{name}.weight"], self.p[f"{name}.bias"])

    def attention(self, x, name, heads, adapter, causal):
        q, k, v = self.linear(x, f"{name}.qkv", adapter).chunk(3, dim=-1)
        size, out = q.shape[-1] // heads, []
        for h in range(heads):
            mine = slice(h * size, (h + 1) * size)
            scores = q[:, mine] @ k[:, mine].T / math.sqrt(size)
            if causal:
                scores = scores + torch.full_like(scores, -math.inf).triu(1)
            out.append(scores.softmax(-1) @ v[:, mine])
        return self.linear(torch.cat(out, dim=-1), f"{name}.out", adapter)

    def transformer(self, x, name, layers, heads, adapter=None, causal=False):
        for i in range(layers):
            at = f"{name}.{i}"
            x = x + self.attention(self.norm(x, f"{at}.norm1"), f"{at}.attention", heads, adapter, causal)
            hidden = self.linear(self.norm(x, f"{at}.norm2"), f"{at}.mlp.fc1", adapter)
            x = x + self.linear(hidden * torch.sigmoid(1.702 * hidden), f"{at}.mlp.fc2", adapter)
        return x

    def image(self, pixels, role, adapter):
        """One image (3, H, W) -> (512,)."""
        at = f"vision.tokenizers.{role}"
        weight = self.p[f"{at}.embed.conv.weight"]
        if weight.shape[1] == 1:
            pixels = pixels.mean(dim=0, keepdim=True)
        patch = weight.shape[-1]
        patches = pixels.unfold(1, patch, patch).unfold(2, patch, patch).permute(1, 2, 0, 3, 4).flatten(2).flatten(0, 1)
        x = torch.cat([self.p[f"{at}.embed.class_token"][None], patches @ weight.flatten(1).T])
        x = self.norm(x + self.p[f"{at}.embed.positions"], f"{at}.norm_pre")
        x = self.transformer(x, "vision.blocks", 2, self.heads, adapter)
        return self.wide(self.linear(self.norm(x[0], "vision.norm"), "vision.projection"))

    def caption(self, ids):
        """One caption (L,) -> (512,)."""
        x = self.p["text.tower.tokens.weight"][ids] + self.p["text.tower.positions"][: len(ids)]
        x = self.transformer(x, "text.tower.blocks", 2, self.text_heads, causal=True)
        return self.wide(self.linear(self.norm(x[ids.argmax()], "text.tower.norm"), "text.projection"))

    def wide(self, x):
        return self.linear(x, "widen")

    def semantic(self, x):
        """Attention over a single token is the projection by v and out."""
        x = self.linear(self.linear(x, "semantic.v"), "semantic.out")
        return self.linear(F.relu(self.norm(self.linear(x, "semantic.fc1"), "semantic.norm")), "semantic.fc2")

    def alignment(self, features, there, roles):
        """{role: {group: feature}} -> the mean over modalities of the contrast with rgb, at temperature .1."""
        losses = []
        for role in roles:
            both = [g for g in there["rgb"] if g in there[role]]
            if role == "rgb" or not both:
                continue
            rows = []
            for i in both:
                terms, positives = [], []
                for j in both:
                    cosine = F.cosine_similarity(features[role][i], features["rgb"][j], dim=0)
                    terms.append(cosine / 0.1 if i != j else torch.tensor(0.0))  # masked: times zero
                    positives.append(i != j and PIDS[i] == PIDS[j])
                total = torch.log(sum(torch.exp(t) for t in terms))
                chosen = [t - total for t, positive in zip(terms, positives, strict=True) if positive]
                rows.append(-sum(chosen) / len(chosen) if chosen else torch.tensor(0.0))
            losses.append(sum(rows) / len(rows))
        return sum(losses) / len(losses)


@pytest.mark.parametrize(
    "rows",
    [
        {},
        {"nir": [0, 2], "sketch": [1], "caption": [0, 1, 3], "rgb": [0, 1, 2]},
        {"cpencil": [], "caption": [2, 0]},
    ],
)
def test_the_model_equals_a_reference_written_from_the_document(make, rows):
    model = disturbed(make(penalty=1.0, fusion=FusionSpec(kind="mean")))
    given = batch(model, **rows)
    values, losses = run(model, given)
    reference, roles = Reference(model, 0.25), list(model.inputs)
    images = [role for role in roles if role != "caption"]
    features, there = {role: {} for role in roles}, {role: [] for role in roles}
    for role, item in given.inputs.items():
        there[role] = item.rows.tolist()
        for value, group in zip(item.values, there[role], strict=True):
            found = reference.caption(value) if role == "caption" else reference.image(value, role, images.index(role))
            close(model.encode(given).items[role].values[there[role].index(group)], found)
            features[role][group] = found
    plain = [torch.stack([features[r][g] for r in roles if g in there[r]]).mean(0) for g in range(4)]
    close(model.embed(given), F.normalize(torch.stack(plain), dim=1))

    shaped = {role: {g: reference.semantic(x) for g, x in found.items()} for role, found in features.items()}
    fused = torch.stack([torch.stack([shaped[r][g] for r in roles if g in there[r]]).mean(0) for g in range(4)])
    close(values["fused"], fused)
    ce = F.cross_entropy(reference.linear(fused, "identity.linear"), PIDS)
    close(losses["id"], ce)
    close(losses["alignment"], reference.alignment(shaped, there, roles))
    close(losses["penalty"], (fused**2).mean())
    weights = {term.name: term.weight for term in model.terms}
    total = sum(weights[name] * loss for name, loss in losses.items())
    close(total, ce + 0.1 * reference.alignment(shaped, there, roles) + (fused**2).mean())


def test_the_document_s_numbers(make):
    """features (4, 512), logits (4, 100), an initial cross-entropy of ln 100; 576 LoRA tensors at ViT-B are 12 layers
    of 6 maps in 4 modalities of 2 matrices."""
    model = make(penalty=1.0)
    values, losses = run(model, batch(model))
    assert values["fused"].shape == (4, 512)
    assert values["id_logits"].shape == (4, 100)
    assert losses["id"].item() == pytest.approx(math.log(100), abs=0.1)
    assert {term.name: term.weight for term in model.terms} == {"id": 1.0, "alignment": 0.1, "penalty": 1.0}
    low = [value for name, value in model.named_parameters() if "lora_" in name]
    maps = sum(value.shape[0] * value.shape[1] for value in low)
    assert maps == 2 * 6 * 4 * 2  # two layers here


def test_fresh_adapters_without_noise_are_clip_bit_for_bit(make, clip_folder):
    model = make(noise=0.0, one_channel=(), fusion_dim=None)
    clip = backbones.clip(clip_folder, image_size=(32, 16))
    given = batch(model)
    items = model.encode(given).items
    images = [role for role in model.inputs if role != "caption"]
    whole = clip.image_features(torch.cat([given.inputs[role].values for role in images]))
    assert torch.equal(torch.cat([items[role].values for role in images]), whole)
    close(items["caption"].values, clip.text_features(given.inputs["caption"].values))


def test_one_pass_equals_one_pass_per_modality(make):
    one, each = disturbed(make()), disturbed(make())
    given = batch(one, nir=[0, 3], sketch=[1])
    together = one.encode(given).items
    alone = {role: each.encode(Batch(given.groups, {role: item})).items[role] for role, item in given.inputs.items()}
    weight = torch.Generator().manual_seed(5)
    for role in given.inputs:
        close(together[role].values, alone[role].values)
    weights = {role: torch.randn(item.values.shape, generator=weight) for role, item in together.items()}
    sum((together[role].values * weights[role]).sum() for role in together).backward()
    sum((alone[role].values * weights[role]).sum() for role in together).backward()
    for (name, a), b in zip(one.named_parameters(), each.parameters(), strict=True):
        assert (a.grad is None) == (b.grad is None), name
        if a.grad is not None:
            close(a.grad, b.grad)


def test_groups_by_role_in_tensors_and_elements(make):
    model = make(channels="as_published", grey_inputs=("cpencil",))
    sizes = {size.name: size for size in group_sizes(model)}
    assert sizes.keys() == {"trunk", "adapters", "tokenizers", "projections", "fusion"}
    assert {name: size.lr_factor for name, size in sizes.items()} == dict.fromkeys(sizes, 5.0) | {"trunk": 1.0}
    assert sizes["tokenizers"].tensors == 4 + 2  # four convolutions without bias, and the learned 1x1 of cpencil
    assert sum(size.elements for size in sizes.values()) == sum(p.numel() for p in model.parameters())
    assert sizes["trunk"].trainable == sizes["trunk"].elements
    assert model.group_rule("vision.tokenizers.nir.embed.conv.weight").name == "tokenizers"
    assert model.group_rule("vision.tokenizers.rgb.embed.positions").name == "trunk"


@pytest.mark.parametrize("tokenizer", ["patches", "whole"])
def test_a_frozen_trunk_is_all_that_does_not_learn(make, tokenizer):
    model = disturbed(make(trunk="frozen", tokenizer=tokenizer))
    sizes = {size.name: size for size in group_sizes(model)}
    assert sizes.pop("trunk").trainable == 0
    assert all(size.trainable == size.elements for size in sizes.values())
    before = {name: value.clone() for name, value in model.state_dict().items()}
    learning = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=0.1)
    sum(run(model.train(), batch(model))[1].values()).backward()
    optimizer.step()
    moved = {
        model.group_rule(name).name
        for name, value in model.state_dict().items()
        if not torch.equal(value, before[name])
    }
    assert moved == sizes.keys()


def test_another_modality_is_configuration_alone(make):
    roles = ("rgb", "tir", "sketch", "cloth_caption", "id_caption")
    model = make(modalities=roles, facts=Facts(identities=100, image_size=(32, 16), roles=roles))
    assert tuple(model.inputs) == roles
    assert model.vision.tokenizers["tir"].embed.conv.in_channels == 1
    assert model.embed(batch(model, tir=[0], rgb=[1, 2], sketch=[3], cloth_caption=[0], id_caption=[])).shape == (
        4,
        512,
    )
    usual = make()
    for name, value in model.vision.tokenizers["sketch"].named_parameters():
        assert torch.equal(value, usual.vision.tokenizers["sketch"].get_parameter(name)), name


@pytest.mark.parametrize("roles", [("rgb",), ("rgb", "nir"), ("rgb", "caption")])
def test_fewer_modalities(make, roles):
    model = make(modalities=roles)
    assert (model.text is None) == ("caption" not in roles)
    values, _ = run(model, batch(model))
    assert values["features"].shape == (4, len(roles), 512)


def test_the_semantic_module_at_retrieval(make):
    """As published it shapes features in training alone; `same` takes the same way to retrieval."""
    published, same = disturbed(make()), disturbed(make(semantic=SemanticSpec(path="same")))
    given = batch(published)
    for model, equal in ((published, False), (same, True)):
        model.eval()
        fused = F.normalize(model.values(model.encode(given), NOW)["fused"], dim=1)
        assert torch.allclose(fused, model.embed(given), atol=1e-5) == equal


def test_modality_tokens_see_the_others_of_their_group_alone(make):
    model = disturbed(make(semantic=SemanticSpec(form="modality_tokens"))).eval()
    whole, less = (model.values(model.encode(batch(model, nir=rows)), NOW)["features"] for rows in ([0, 1, 2, 3], [0]))
    close(whole[0], less[0])
    assert not torch.allclose(whole[1, 0], less[1, 0])
    alone = disturbed(make()).eval()
    whole, less = (alone.values(alone.encode(batch(alone, nir=rows)), NOW)["features"] for rows in ([0, 1, 2, 3], [0]))
    close(whole[1, 0], less[1, 0])


@pytest.mark.parametrize("kind", ["attention", "concat", "mean", None])
def test_fusion_ignores_what_is_absent(make, kind):
    """A row's feature does not depend on what an absent column holds, nor on other rows."""
    model = disturbed(make(fusion=None if kind is None else FusionSpec(kind=kind))).eval()
    features, present = torch.randn(3, 5, 512), torch.tensor([[1, 1, 0, 0, 1], [1, 0, 0, 0, 0], [0, 1, 1, 1, 1]]).bool()
    other = torch.where(present[:, :, None], features, torch.randn(3, 5, 512))
    close(model.fusion(features, present), model.fusion(other, present))
    close(model.fusion(features, present)[1:2], model.fusion(features[1:2], present[1:2]))
    assert model.fusion(features, present).shape == (3, 512)


def test_modality_dropout_leaves_one_and_is_for_training(make):
    model = disturbed(make(modality_dropout=0.9)).train()
    present = torch.tensor([[True] * 5, [False, True, False, False, False]] * 50)
    groups = {"keys": keys(0, 0, torch.arange(100))}
    kept = model._kept(present, groups)
    assert not (kept & ~present).any()
    assert kept.any(dim=1).all()
    assert kept[::2].float().mean() < 0.35
    assert torch.equal(model._kept(present, groups), kept)
    assert torch.equal(model.eval()._kept(present, groups), present)


def test_fused_queries_are_aligned_with_rgb(make):
    model = disturbed(make(alignment=AlignmentSpec(queries=True), fusion=FusionSpec(kind="mean"), semantic=None))
    values, _ = run(model, batch(model, nir=[0, 1], cpencil=[0], sketch=[], caption=[0, 2]))
    assert values["features"].shape[1] == 6
    assert values["present"][:, 5].tolist() == [True, False, False, False], "one modality is no fusion"
    close(values["features"][0, 5], values["features"][0, [1, 2, 4]].mean(dim=0))


def test_identity_on_each_modality(make):
    model = make(id=IdentitySpec(reads="both"))
    values, losses = run(model, batch(model, nir=[0], sketch=[]))
    labels = values["id_labels"]
    assert len(labels) == 4 + 4 * 5
    assert (labels >= 0).sum() == 4 + (4 + 1 + 4 + 0 + 4)
    chosen = labels >= 0
    close(losses["id"], F.cross_entropy(values["id_logits"][chosen], labels[chosen]))


def test_text_adapters(make):
    model = make(mer=MerSpec(text=True))
    assert any(name.startswith("text.") and "lora_" in name for name, _ in model.named_parameters())
    assert not any(name.startswith("text.") and "lora_" in name for name, _ in make().named_parameters())


def test_nothing_to_read_is_one_line(make):
    model = make()
    given = batch(model, rgb=[0, 2], nir=[], cpencil=[], sketch=[], caption=[])
    with pytest.raises(DataError, match=r"^no input for group 1 and 1 more of the batch; at least one of rgb, nir, "):
        model.embed(given)
    with pytest.raises(DataError, match=r"^no input for all 4 groups of the batch"):
        model.embed(Batch(given.groups, {}))


def test_user_errors(make):
    with pytest.raises(SpecError, match=r"text_length 99 exceeds the context"):
        make(text_length=99)
    with pytest.raises(SpecError, match=r"semantic.dim 64 is not the features' width of 512"):
        make(semantic=SemanticSpec(dim=64))
    with pytest.raises(SpecError, match=r"semantic.heads: 7 heads do not divide a width of 512"):
        make(semantic=SemanticSpec(heads=7))
    with pytest.raises(SpecError, match=r"fusion.heads: 7 heads do not divide a width of 512"):
        make(fusion=FusionSpec(heads=7))
    with pytest.raises(SpecError, match="adapters in the last 3 layers of a transformer that has 2"):
        make(mer=MerSpec(layers=3))


def test_faults_that_a_spec_shows_before_anything_is_built():
    with pytest.raises(ValidationError, match="a rank of 0 adapts nothing"):
        MerSpec(rank=0)
    with pytest.raises(ValidationError, match=r"unknown adapter target 'fc'; allowed: .*; did you mean 'fc"):
        MerSpec(targets=("fc",))
    with pytest.raises(ValidationError, match=r"unknown modality 'scetch'; allowed: .*; did you mean 'sketch'"):
        Spec(modalities=("rgb", "scetch"))
    with pytest.raises(ValidationError, match="alignment is with rgb, which is not among the modalities"):
        Spec(modalities=("nir", "sketch"))
    with pytest.raises(ValidationError, match="modalities must name at least one of rgb"):
        Spec(modalities=("caption",), alignment=None)
    with pytest.raises(ValidationError, match="each modality may be named once"):
        Spec(modalities=("rgb", "nir", "nir"))

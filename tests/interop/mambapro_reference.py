"""MambaPro's features in plain functions of its own file: one image at a time, one token at a time."""

import torch
import torch.nn.functional as F

BASE, SIDES = "BACKBONE.base.", ("r", "n", "t")
ROLES = dict(zip(SIDES, ("rgb", "nir", "tir"), strict=True))


def file_of(width=32, layers=2, patch=8, cells=8, out=16, identities=5, cameras=3, tokens=4, states=16, both=True):
    """Random tensors of every part that the authors' code makes, adapters of twice the width."""
    shapes = {"conv1.weight": (width, 3, patch, patch), "class_embedding": (width,), "proj": (width, out)}
    shapes |= {"positional_embedding": (1 + cells, width)}
    shapes |= {f"{norm}.{kind}": (width,) for norm in ("ln_pre", "ln_post") for kind in ("weight", "bias")}
    for i in range(layers):
        block = f"transformer.resblocks.{i}."
        shapes |= {f"{block}attn.in_proj_weight": (3 * width, width), f"{block}attn.in_proj_bias": (3 * width,)}
        for name, (a, b) in {
            "attn.out_proj": (width, width),
            "mlp.c_fc": (2 * width, width),
            "mlp.c_proj": (width, 2 * width),
            "adapter_ffn.0": (2 * width, width),
            "adapter_ffn.2": (width, 2 * width),
            **{f"adapter_{part}.0": (width // 2, width) for part in ("transfer", *SIDES)},
            **{f"adapter_{part}.3": (width, width // 2) for part in ("transfer", *SIDES)},
        }.items():
            shapes |= {f"{block}{name}.weight": (a, b), f"{block}{name}.bias": (a,)}
        shapes |= {f"{block}{norm}.{kind}": (width,) for norm in ("ln_1", "ln_2") for kind in ("weight", "bias")}
        shapes |= {f"{block}adapter_prompt_{role}": (tokens, width) for role in ROLES.values()}
    shapes = {BASE + name: shape for name, shape in shapes.items()} | {"BACKBONE.cv_embed": (cameras, width)}
    for prefix, suffix, size in (("BACKBONE.", "", out), ("", "", 3 * out), ("", "_fuse", 3 * out)):
        shapes[f"{prefix}classifier{suffix}.weight"] = (identities, size)
        shapes |= _norm(f"{prefix}bottleneck{suffix}", size)
    inner, rank = 2 * out, -(-out // 16)
    for i in range(2):
        for part, scans in (("intra", SIDES), ("inter", ("2",))):
            place = f"AAM.ma_block.{i}.SSM_{part}."
            shapes[f"{place}out_proj.weight"] = (out, inner)
            for side in SIDES:
                shapes[f"{place}in_proj_{side}.weight"] = (2 * inner, out)
                shapes |= {f"{place}conv2d_{side}.0.weight": (inner, 1, 3, 3), f"{place}conv2d_{side}.0.bias": (inner,)}
                shapes |= _norm(f"{place}conv2d_{side}.1", inner)
            for scan in (f"{place}SSM_{s}_{way}." for s in scans for way in ("fb" if both else "f")):
                shapes |= {f"{scan}x_proj.weight": (rank + 2 * states, inner), f"{scan}dt_proj.weight": (inner, rank)}
                shapes |= {f"{scan}dt_proj.bias": (inner,), f"{scan}A_log": (inner, states), f"{scan}D": (inner,)}
                shapes |= {f"{scan}out_norm.weight": (inner,), f"{scan}out_norm.bias": (inner,)}
    for side in SIDES:
        place = f"AAM.linear_reduction_{side}."
        shapes |= {f"{place}0.weight": (2 * out,), f"{place}0.bias": (2 * out,)}
        shapes |= {f"{place}1.weight": (out, 2 * out), f"{place}1.bias": (out,)}
    generator = torch.Generator().manual_seed(0)
    found = {name: _drawn(name, shape, generator) for name, shape in shapes.items()}
    return {name: torch.tensor(9) if name.endswith("num_batches_tracked") else v for name, v in found.items()}


def _norm(name, width):
    kinds = ("weight", "bias", "running_mean", "running_var")
    return {f"{name}.{kind}": (width,) for kind in kinds} | {f"{name}.num_batches_tracked": ()}


def _drawn(name, shape, generator):
    draw = torch.randn(shape, generator=generator)
    if len(shape) == 1 and name.endswith(("weight", "running_var", ".D")):
        return 1 + 0.1 * draw.abs()
    if name.endswith("A_log"):
        return 0.3 * draw
    return 0.2 * draw if len(shape) < 2 else draw / shape[-1] ** 0.5


def features(file, images, camids, heads=2, patch=8, grid=(4, 2), prompts=True, adapters=True, aggregate=True):
    """{role: (n, 3, H, W)}, (n,) -> (n, 3 · out): of the aggregator, or the class tokens side by side."""
    towers = [_tower(file, images[ROLES[s]], camids, s, heads, patch, prompts, adapters) for s in SIDES]
    if not aggregate:
        return torch.cat([tower[:, 0] for tower in towers], dim=1)
    patches = [tower[:, 1:] for tower in towers]
    for i in range(2):
        for part in ("intra", "inter"):
            patches = _mix(file, f"AAM.ma_block.{i}.SSM_{part}.", patches, grid, together=part == "inter")
    found = []
    for side, tower, tokens in zip(SIDES, towers, patches, strict=True):
        place = f"AAM.linear_reduction_{side}."
        whole = torch.cat([tower[:, 0], tokens.mean(dim=1)], dim=1)
        found.append(_linear(file, f"{place}1", _layer_norm(file, f"{place}0", whole)))
    return torch.cat(found, dim=1)


def _tower(file, pixels, camids, side, heads, patch, prompts, adapters):
    x = F.conv2d(pixels, file[f"{BASE}conv1.weight"], stride=patch).flatten(2).transpose(1, 2)
    first = file[f"{BASE}class_embedding"] + file["BACKBONE.cv_embed"][camids]
    x = torch.cat([first[:, None], x], dim=1) + file[f"{BASE}positional_embedding"]
    x, last = _layer_norm(file, f"{BASE}ln_pre", x), None
    for i in range(2):
        block = f"{BASE}transformer.resblocks.{i}."
        length = x.shape[1]
        if prompts:
            parts = []
            for other in SIDES:
                own = file[f"{block}adapter_prompt_{ROLES[other]}"].expand(len(x), -1, -1)
                if other == side:
                    parts.append(own if last is None else own + last + _two(file, f"{block}adapter_transfer", last, 3))
                else:
                    parts.append(own + _two(file, f"{block}adapter_{other}", own, 3))
            x = torch.cat([x, *parts], dim=1)
        y = _layer_norm(file, f"{block}ln_1", x)
        q, k, v = F.linear(y, file[f"{block}attn.in_proj_weight"], file[f"{block}attn.in_proj_bias"]).chunk(3, dim=-1)
        q, k, v = (z.unflatten(-1, (heads, -1)).transpose(1, 2) for z in (q, k, v))
        seen = ((q @ k.transpose(-1, -2)) / q.shape[-1] ** 0.5).softmax(-1) @ v
        x = x + _linear(file, f"{block}attn.out_proj", seen.transpose(1, 2).flatten(2))
        beside = _two(file, f"{block}adapter_ffn", x, 2) if adapters else 0.0
        y = _linear(file, f"{block}mlp.c_fc", _layer_norm(file, f"{block}ln_2", x))
        x = x + _linear(file, f"{block}mlp.c_proj", y * torch.sigmoid(1.702 * y)) + beside
        if prompts:
            last = x[:, length:].unflatten(1, (3, -1)).mean(dim=1)
            x = x[:, :length]
    return _layer_norm(file, f"{BASE}ln_post", x) @ file[f"{BASE}proj"]


def _mix(file, place, patches, grid, *, together):
    values, gates = [], []
    for side, tokens in zip(SIDES, patches, strict=True):
        value, gate = F.linear(tokens, file[f"{place}in_proj_{side}.weight"]).chunk(2, dim=-1)
        plane = value.unflatten(1, grid).permute(0, 3, 1, 2)
        name, width = f"{place}conv2d_{side}.", value.shape[-1]
        plane = F.conv2d(plane, file[f"{name}0.weight"], file[f"{name}0.bias"], padding=1, groups=width)
        mean, var = file[f"{name}1.running_mean"], file[f"{name}1.running_var"]
        plane = F.silu(F.batch_norm(plane, mean, var, file[f"{name}1.weight"], file[f"{name}1.bias"]))
        values.append(plane.permute(0, 2, 3, 1).flatten(1, 2))
        gates.append(gate)
    runs = {"2": torch.cat(values, dim=1)} if together else dict(zip(SIDES, values, strict=True))
    done = [_both(file, f"{place}SSM_{name}", run) for name, run in runs.items()]
    mixed = torch.cat(done, dim=1) * F.silu(torch.cat(gates, dim=1))
    out = F.linear(mixed, file[f"{place}out_proj.weight"]).chunk(3, dim=1)
    return [tokens + more for tokens, more in zip(patches, out, strict=True)]


def _both(file, name, x):
    found = _scan(file, f"{name}_f.", x)
    return found + _scan(file, f"{name}_b.", x.flip(1)).flip(1) if f"{name}_b.D" in file else found


def _scan(file, name, x):
    rank, states = file[f"{name}dt_proj.weight"].shape[1], file[f"{name}A_log"].shape[1]
    low, b, c = F.linear(x, file[f"{name}x_proj.weight"]).split([rank, states, states], dim=-1)
    delta = F.softplus(F.linear(low, file[f"{name}dt_proj.weight"], file[f"{name}dt_proj.bias"]))
    a, state, out = -file[f"{name}A_log"].exp(), torch.zeros(len(x), *file[f"{name}A_log"].shape), []
    for t in range(x.shape[1]):
        state = (delta[:, t, :, None] * a).exp() * state + (delta[:, t] * x[:, t])[:, :, None] * b[:, t, None]
        out.append((state * c[:, t, None]).sum(-1) + file[f"{name}D"] * x[:, t])
    return _layer_norm(file, f"{name}out_norm", torch.stack(out, dim=1))


def _two(file, name, x, second):
    y = _linear(file, f"{name}.0", x)
    return _linear(file, f"{name}.{second}", y * torch.sigmoid(1.702 * y))


def _linear(file, name, x):
    return F.linear(x, file[f"{name}.weight"], file[f"{name}.bias"])


def _layer_norm(file, name, x):
    return F.layer_norm(x, x.shape[-1:], file[f"{name}.weight"], file[f"{name}.bias"])

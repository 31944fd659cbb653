"""What a model is and does in a tiny step: batches of every kind, losses, gradients, all that a choice can change."""

from __future__ import annotations

from fnmatch import fnmatchcase
from itertools import combinations

import torch

from reid_lab.contracts import ROLES, Batch, Facts, Input
from reid_lab.engine.terms import evaluate, full_precision, weight_of
from reid_lab.schedules import Progress
from reid_lab.seeding import derive, keys, stream

PIDS = [0, 1, 2, 3, 4, 0, 0, 1]
IMAGE_IDS = [0, 1, 2, 3, 4, 5, 5, 6]  # two captions of one image, beside another image of the same person
GROUPS = len(PIDS)
FACTS = Facts(
    identities=5,
    cameras=2,
    roles=ROLES,
    image_size=(32, 16),
    labels={"clothes": 4, "scenes": 3, "sources": 1},
)
BEGIN, HALF, END = Progress(0, 10, 100), Progress(55, 10, 100), Progress(100, 10, 100)  # `HALF` is within an epoch
CAPTIONS = [
    "a man in red shirt with black trousers",
    "a woman wearing black trousers with white shoes",
    "the man with white shoes in a blue shirt",
    "zebra",
    "a blue shirt with red trousers",
    "red",
    "the woman in a white shirt",
    "a man with blue shoes",
]


def batch(model, roles=None, present=None, unknown=()):
    """`GROUPS` groups with an item of every role (or of `roles`).

    present: role -> the groups that have it. unknown: labels of which no group's value is known.
    """
    present = present or {}
    inputs = {}
    for number, (role, want) in enumerate(model.inputs.items()):
        rows = torch.as_tensor(present.get(role, range(GROUPS)), dtype=torch.int64)
        if (roles is not None and role not in roles) or not len(rows):
            continue
        if want.tokenize is None:
            generator = torch.Generator().manual_seed(7 + number)
            pixels = torch.randn(GROUPS, want.channels, *(want.size or FACTS.image_size), generator=generator)
            inputs[role] = Input(pixels[rows], rows)
        else:
            turned = CAPTIONS[number:] + CAPTIONS[:number]
            inputs[role] = Input(want.tokenize([turned[row] for row in rows.tolist()]), rows)
    ids = torch.arange(GROUPS)
    known = {"pids": torch.tensor(PIDS), "image_ids": torch.tensor(IMAGE_IDS), "camids": ids % 2}
    known["keys"] = keys(0, 0, ids)
    known |= {name: ids % count for name, count in FACTS.labels.items()}
    known |= {name: torch.full_like(ids, -1) for name in unknown}
    return Batch(known, inputs)


def ragged(model):
    """A batch in which every group lacks another role, and one has a single one."""
    roles = list(model.inputs)
    if len(roles) == 1:
        return batch(model)
    lacking = {k: roles[k % len(roles)] for k in range(GROUPS - 1)}
    return batch(
        model,
        present={
            role: [k for k in range(GROUPS) if lacking.get(k) != role and (k < GROUPS - 1 or role == roles[0])]
            for role in roles
        },
    )


def subsets(model):
    """Every non-empty subset of the roles."""
    roles = list(model.inputs)
    return [chosen for size in range(1, len(roles) + 1) for chosen in combinations(roles, size)]


def losses(model, given, now=BEGIN):
    """Term -> (mean, count) where its needs are there; the count of a mean over all rows is 1."""
    with stream(0, "probe"):
        encoded = model.encode(given)
        values = {**model.values(encoded, now), **encoded.local}
    found = {}
    for term in model.terms:
        if set(term.needs) <= values.keys():
            out = term.fn(**{need: full_precision(values[need]) for need in term.needs})
            total, count = (out, 1) if isinstance(out, torch.Tensor) else (out.total, int(out.count))
            found[term.name] = (total, count)
    return found


def summed(model, given, now=BEGIN):
    """The weighted sum of the losses, as the engine forms it; None when none has a valid row."""
    weights = {term.name: weight_of(term, now) for term in model.terms}
    found = [weights[name] * total / count for name, (total, count) in losses(model, given, now).items() if count]
    return sum(found) if found else None


def disturb(model):
    """Moves every parameter a little, each by its own stream: what begins at zero hides what stands before it."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            generator = torch.Generator().manual_seed(derive("disturb", name))
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return model


def gradients(model):
    """The gradient of each trainable parameter from a whole batch at the beginning and a ragged one half-way."""
    model.train().zero_grad()
    for given, now in ((batch(model), BEGIN), (ragged(model), HALF)):
        total = summed(model, given, now)
        if total is not None and total.requires_grad:
            total.backward()
    return {name: value.grad for name, value in model.named_parameters() if value.requires_grad}


def is_dead(model, parameter):
    """Whether a choice is declared to leave a parameter without a gradient."""
    return any(fnmatchcase(parameter, pattern) for pattern in model.dead)


def embeddings(model):
    """Those of a whole batch, of each role alone, and of a ragged batch."""
    model.eval()
    asked = [batch(model), *(batch(model, [role]) for role in model.inputs), ragged(model)]
    with torch.no_grad():
        return [model.embed(given) for given in asked]


def aspects(model):
    """All that a choice can change: name -> a value to compare."""
    initial = {name: value.clone() for name, value in model.state_dict().items()}
    shapes = {name: (tuple(p.shape), p.requires_grad) for name, p in model.named_parameters()}
    disturb(model)
    found = {
        "parameters": shapes,
        "initial weights": initial,
        "groups": {name: model.group_rule(name) for name, p in model.named_parameters() if p.requires_grad},
        "terms": [(term.name, [weight_of(term, now) for now in (BEGIN, HALF, END)]) for term in model.terms],
        "inputs": {
            role: (want.size, want.channels, want.mean, want.std, want.max_length)
            for role, want in model.inputs.items()
        },
        "gradients": gradients(model),
        "diagnostics": diagnosed(model),
        "embeddings": embeddings(model),
    }
    model.train()
    with torch.no_grad():
        found["losses"] = {name: total for name, (total, _) in losses(model, batch(model), HALF).items()}
    return found


def diagnosed(model):
    """The diagnostics that are told of a whole batch."""
    model.train()
    with torch.no_grad(), stream(0, "probe"):
        encoded = model.encode(batch(model))
        values = {**model.values(encoded, HALF), **encoded.local}
        return sorted(evaluate(model.diagnostics, values))


def same(a, b):
    """Whether two values are equal to the last bit."""
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.shape == b.shape and torch.equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b

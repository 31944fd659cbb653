"""Whether two models of different architectures compute the same."""

import torch

from tests.architectures import probe


def close(a, b):
    """To 1e-6."""
    torch.testing.assert_close(a, b, rtol=0, atol=1e-6)


def compare(ours, other, names):
    """Embeddings, features, logits and losses of two models; `names`: what the other calls our values."""
    given = probe.batch(ours)
    for model in (ours, other):
        model.eval()
    with torch.no_grad():
        close(ours.embed(given), other.embed(given))
        a, b = (model.values(model.encode(given), probe.BEGIN) for model in (ours, other))
    for mine, theirs in names.items():
        close(a[mine], b[theirs])
    mine, theirs = probe.losses(ours, given), probe.losses(other, given)
    assert mine.keys() == theirs.keys() == {"id", "triplet"}
    for term in mine:
        close(mine[term][0] / mine[term][1], theirs[term][0] / theirs[term][1])

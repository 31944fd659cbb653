"""How large the parameter groups of a model are."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import final

from reid_lab.contracts import Architecture


@final
@dataclass(frozen=True)
class GroupSize:
    """A parameter group: its factor on the learning rate, its tensors and elements, and the elements that learn."""

    name: str
    lr_factor: float
    tensors: int = 0
    elements: int = 0
    trainable: int = 0


def group_sizes(model: Architecture) -> tuple[GroupSize, ...]:
    """The parameter groups in tensors *and* elements, frozen ones too, in order of their first parameter.

    Tensors say little: twelve layers of adapters are hundreds of them, and a hundredth of the elements.
    """
    found: dict[str, GroupSize] = {}
    for name, value in model.named_parameters():
        rule = model.group_rule(name)
        old = found.get(rule.name, GroupSize(rule.name, rule.lr_factor))
        count = value.numel()
        found[rule.name] = replace(
            old,
            tensors=old.tensors + 1,
            elements=old.elements + count,
            trainable=old.trainable + (count if value.requires_grad else 0),
        )
    return tuple(found.values())

"""reid-lab: a laboratory for person re-identification research.

`import reid_lab as rl` is the laboratory in Python, and says what the command line says: `rl.run`, `rl.study`,
`rl.runs`, `rl.compare`, `rl.load`, … (docs/api.md). A name is looked up when it is first used, so that importing the
package costs nothing.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    from reid_lab.api.computing import evaluate as evaluate
    from reid_lab.api.computing import replay as replay
    from reid_lab.api.computing import run as run
    from reid_lab.api.computing import study as study
    from reid_lab.api.figures import Figure as Figure
    from reid_lab.api.figures import figure as figure
    from reid_lab.api.models import Model as Model
    from reid_lab.api.models import load as load
    from reid_lab.api.own import register as register
    from reid_lab.api.probing import probe as probe
    from reid_lab.api.probing import slices as slices
    from reid_lab.api.reading import Comparison as Comparison
    from reid_lab.api.reading import Study as Study
    from reid_lab.api.reading import compare as compare
    from reid_lab.api.reading import queries as queries
    from reid_lab.api.reading import runs as runs
    from reid_lab.api.showing import inspect as inspect
    from reid_lab.api.showing import items as items
    from reid_lab.api.showing import show as show
    from reid_lab.errors import UserError as UserError

_HOME = {
    "Comparison": "api.reading",
    "Figure": "api.figures",
    "Model": "api.models",
    "Study": "api.reading",
    "UserError": "errors",
    "compare": "api.reading",
    "evaluate": "api.computing",
    "figure": "api.figures",
    "inspect": "api.showing",
    "items": "api.showing",
    "load": "api.models",
    "probe": "api.probing",
    "queries": "api.reading",
    "register": "api.own",
    "replay": "api.computing",
    "run": "api.computing",
    "runs": "api.reading",
    "show": "api.showing",
    "slices": "api.probing",
    "study": "api.computing",
}
"""Where each public name stands, below this package."""

__all__ = [
    "Comparison",
    "Figure",
    "Model",
    "Study",
    "UserError",
    "compare",
    "evaluate",
    "figure",
    "inspect",
    "items",
    "load",
    "probe",
    "queries",
    "register",
    "replay",
    "run",
    "runs",
    "show",
    "slices",
    "study",
]


@final
class _Room(ModuleType):
    """The room `reid_lab.study`, which can be called as the function of that name."""

    def __call__(self, *args: Any, **named: Any) -> Any:
        """See `reid_lab.api.computing.study`."""
        return import_module("reid_lab.api.computing").study(*args, **named)


@final
class _Package(ModuleType):
    """This package: a name that is both a room and a function is the room, made callable when it is imported."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "study" and isinstance(value, ModuleType):
            value.__class__ = _Room
        super().__setattr__(name, value)


if not TYPE_CHECKING:  # a type checker would take any name for one of these

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module 'reid_lab' has no attribute '{name}'", name=name, obj=sys.modules[__name__])
        if name == "study":
            return import_module("reid_lab.study")
        return getattr(import_module(f"reid_lab.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*_HOME, *(name for name in globals() if name.startswith("__"))})


sys.modules[__name__].__class__ = _Package

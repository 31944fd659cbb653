"""Architectures of one's own: a file beside the experiments, entered into the registry of this process."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from importlib.abc import SourceLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from reid_lab.architectures import ARCHITECTURES, Entry
from reid_lab.contracts import Architecture
from reid_lab.errors import Fault, SpecError
from reid_lab.spec.run import ModelSpec

_PREFIX = "reid_lab_own_"


def register(file: Path) -> str:
    """Enters the architecture that a file defines; the name of its spec.

    The module has a class `Spec` below `ModelSpec` with a default for `name`, one class below `Architecture`, and
    `RESULT_VERSION`. A file that was entered before is read anew. Raises `SpecError` with everything that it lacks.
    """
    module = _imported(file)
    name, kind = _checked(module, file)
    title = next(iter((module.__doc__ or name).strip().splitlines()))
    ARCHITECTURES[name] = Entry(title, "none", str(file), module.__name__, kind, str(file))
    return name


def _imported(file: Path) -> ModuleType:
    if not file.is_file():
        raise SpecError(Fault("no such file", str(file)))
    if not file.stem.isidentifier():
        raise SpecError(Fault("a module's name has letters, digits and underscores", str(file)))
    name = f"{_PREFIX}{file.stem}"
    found = importlib.util.spec_from_file_location(name, file)
    if found is None or not isinstance(found.loader, SourceLoader):
        raise SpecError(Fault("is no Python file", str(file)))
    module = importlib.util.module_from_spec(found)
    former = sys.modules.get(name)
    sys.modules[name] = module  # pydantic looks annotations up there
    try:
        # Compiled anew: bytecode that Python keeps is taken for current when a file changes within a second.
        exec(found.loader.source_to_code(file.read_bytes(), str(file)), vars(module))
    except Exception as error:
        if former is None:
            del sys.modules[name]
        else:
            sys.modules[name] = former
        told = " ".join(str(error).split())
        raise SpecError(Fault(f"cannot be imported: {type(error).__name__}: {told}", str(file))) from error
    return module


def _checked(module: ModuleType, file: Path) -> tuple[str, str]:
    """The name of the spec and that of the class. Raises `SpecError`."""
    faults = []
    spec, version = getattr(module, "Spec", None), getattr(module, "RESULT_VERSION", None)
    name: Any = None
    if not (inspect.isclass(spec) and issubclass(spec, ModelSpec)):
        faults.append("needs a class Spec below reid_lab.spec.run.ModelSpec")
    else:
        name = spec.model_fields["name"].default
        if not isinstance(name, str):
            faults.append("Spec.name needs a default: name: Literal['mine'] = 'mine'")
    if not isinstance(version, int):
        faults.append("needs RESULT_VERSION, a number that is raised when the same run gives other bits")
    kinds = [
        key
        for key, value in vars(module).items()
        if inspect.isclass(value) and issubclass(value, Architecture) and value.__module__ == module.__name__
    ]
    if len(kinds) != 1:
        faults.append(f"needs one class below reid_lab.contracts.Architecture, has {len(kinds)}")
    taken = ARCHITECTURES.get(name) if isinstance(name, str) else None
    if taken is not None and taken.module != module.__name__:
        faults.append(f"'{name}' is the name of an architecture that is there already ({taken.code})")
    if faults:
        raise SpecError(*(Fault(what, str(file)) for what in faults))
    return name, kinds[0]

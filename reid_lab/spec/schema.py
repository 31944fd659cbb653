"""JSON Schemas of spec and study files, for editors (completion and checks while typing)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from reid_lab.spec.loader import Registries
from reid_lab.spec.run import RunSpec
from reid_lab.spec.section import Section
from reid_lab.spec.study import StudySpec


def json_schema(registries: Registries) -> dict[str, Any]:
    """The schema (draft 2020-12) of a run's YAML file.

    `model` and `data` are one of the registered sections, told apart by `name`. A file that extends
    another may leave out everything, `name` included; such a partial section is not checked further.
    """
    models = {name: get() for name, get in registries.models.items()}
    data = {name: get() for name, get in registries.data.items()}
    kinds: list[type[Section]] = [RunSpec, *models.values(), *data.values()]
    references, collected = models_json_schema([(kind, "validation") for kind in kinds])
    schema: dict[str, Any] = dict(references[RunSpec, "validation"])
    definitions = collected["$defs"]
    root = definitions.pop(schema["$ref"].rpartition("/")[2])
    properties = root["properties"]
    for part, registry in (("model", models), ("data", data)):
        variants = {name: references[kind, "validation"] for name, kind in registry.items()}
        properties[part] = _named(variants)
    definitions["EvalSpec"]["properties"]["protocol"] |= {"enum": [*sorted(registries.protocols), None]}
    properties["extends"] = _EXTENDS
    required = root.pop("required", [])
    named = {part: {"type": "object", "required": ["name"]} for part in ("model", "data")}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **root,
        "if": {"not": {"required": ["extends"]}},
        "then": {"required": required, "properties": named},
        "$defs": definitions,
    }


def study_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of a study's YAML file; what patches and ranges say of the base is not checked."""
    schema = StudySpec.model_json_schema()
    rules = schema["$defs"]["ComponentSpec"]["properties"]
    schema["$defs"]["ComponentSpec"] = {
        "type": "object",
        "description": "what the component is replaced by: a level's name, and its patch",
        "properties": {name: rules[name] for name in ("requires", "excludes")},
        "additionalProperties": {"type": "object", "minProperties": 1},
    }
    schema["properties"]["extends"] = _EXTENDS
    required = schema.pop("required", [])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "if": {"not": {"required": ["extends"]}},
        "then": {"required": required},
    }


_EXTENDS = {
    "description": "files that this one is laid over, relative to it; later ones over earlier ones",
    "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}],
}


def _named(variants: Mapping[str, Any]) -> dict[str, Any]:
    """A section chosen by its `name`; without one (in a file that extends another) anything goes."""
    choices = [
        {"if": {"properties": {"name": {"const": name}}, "required": ["name"]}, "then": section}
        for name, section in variants.items()
    ]
    return {"type": "object", "properties": {"name": {"enum": sorted(variants)}}, "allOf": choices}

"""The configuration, checked before any rule runs: an error names the value, what is allowed, and what to do.

config/schema.json says which keys there are and in which range; `validate` turns its refusals into
sentences. Two traps are closed here that JSON Schema leaves open: 5.0 is not accepted as an integer, and
.nan or .inf not as a number (every comparison with NaN is false, so it would pass any range).
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError, best_match
from jsonschema.validators import extend

ROOT = Path(__file__).resolve().parents[1]
SCHEMA = ROOT / "config" / "schema.json"


class ConfigError(ValueError):
    """The configuration has a key or a value that is not allowed."""


def validate(config: Mapping[str, Any], schema: Path = SCHEMA) -> Mapping[str, Any]:
    """Return `config` unchanged if the schema allows it; raise ConfigError with one line per mistake if not."""
    validator = _STRICT(json.loads(schema.read_text(encoding="utf-8")))
    mistakes = [line for error in validator.iter_errors(config) for line in _explain(error)]
    if mistakes:
        raise ConfigError("the configuration is not valid:\n" + "\n".join(f"  {line}" for line in sorted(mistakes)))
    return config


def _is_integer(_: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(checker: object, value: object) -> bool:
    return _is_integer(checker, value) or (isinstance(value, float) and math.isfinite(value))


_STRICT = extend(
    Draft202012Validator,
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many({"integer": _is_integer, "number": _is_number}),
)


def _explain(error: ValidationError) -> list[str]:
    """The sentences for one refusal: one per unknown or missing key, else one for the value."""
    place = _place(error)
    schema: dict[str, Any] = cast(dict[str, Any], error.schema)
    instance: Any = error.instance
    if error.validator == "additionalProperties":
        allowed = sorted(schema["properties"])
        unknown = sorted(str(key) for key in instance if key not in allowed)
        return [_unknown(place, key, allowed) for key in unknown]
    if error.validator == "required":
        missing = [key for key in schema["required"] if key not in instance]
        return [
            f"{_join(place, key)} is missing; {_allowed(schema['properties'][key])}; remedy: set it, "
            "or leave config/default.yaml to set it"
            for key in missing
        ]
    if error.validator in ("anyOf", "oneOf") and error.context:
        nearest = best_match(error.context)
        return _explain(nearest if nearest is not None else error)
    remedy = "change it in the file given to --configfile, or in config/default.yaml"
    if isinstance(instance, str) and _reads_as_number(instance):
        number = "100000" if "integer" in _listed(schema.get("type", "object")) else "1.0e+5"
        remedy = f"YAML takes 1e5 and quoted numbers for text: write {number}, without quotes"
    return [f"{place or 'the configuration'} = {instance!r}; {_allowed(schema)}; remedy: {remedy}"]


def _unknown(place: str, key: str, allowed: list[str]) -> str:
    near = difflib.get_close_matches(key, allowed, n=1, cutoff=0.5)
    remedy = f"did you mean {near[0]}?" if near else "remove it"
    section = place or "the top level"
    return f"{_join(place, key)} is not a key; allowed in {section}: {', '.join(allowed)}; remedy: {remedy}"


def _allowed(schema: Mapping[str, Any]) -> str:
    """What a value may be, in words: allowed: an integer ≥ 1 (steps N of the sampler)."""
    if "enum" in schema:
        words = "one of " + ", ".join(map(repr, schema["enum"]))
    elif "const" in schema:
        words = repr(schema["const"])
    else:
        words = " or ".join(_KINDS[kind] for kind in _listed(schema.get("type", "object")))
        bounds = [f"{sign} {schema[key]}" for key, sign in _BOUNDS.items() if key in schema]
        if bounds:
            words += " " + " and ".join(bounds)
        if "items" in schema:
            words += f" of at least {schema.get('minItems', 0)}, each {_allowed(schema['items']).removeprefix('allowed: ')}"
            words += ", no two equal" if schema.get("uniqueItems") else ""
    description = schema.get("description")
    return f"allowed: {words}" + (f" ({description})" if description else "")


_KINDS = {
    "integer": "an integer",
    "number": "a finite number",
    "string": "a text that is not empty",
    "array": "a list",
    "object": "a section of keys",
    "boolean": "true or false",
    "null": "null",
}
_BOUNDS = {
    "minimum": "≥",
    "exclusiveMinimum": ">",
    "maximum": "≤",
    "exclusiveMaximum": "<",
    "multipleOf": "a multiple of",
}


def _listed(kind: str | list[str]) -> list[str]:
    return [kind] if isinstance(kind, str) else kind


def _reads_as_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


def _place(error: ValidationError) -> str:
    """The path of the refused value: synthetic.dichotomy.dims[2]."""
    place = ""
    for step in error.absolute_path:
        place = f"{place}[{step}]" if isinstance(step, int) else _join(place, str(step))
    return place


def _join(place: str, key: str) -> str:
    return f"{place}.{key}" if place else key

"""The configuration: ours is valid, and each kind of mistake gets an error with value, range and remedy."""

import copy
import json
import math

import pytest
import yaml

from imagenet.settings import read
from theory.config import ROOT, SCHEMA, ConfigError, validate


@pytest.fixture
def default():
    return yaml.safe_load((ROOT / "config" / "default.yaml").read_text(encoding="utf-8"))


def _merged(base, over):
    """As snakemake merges --configfile: sections key by key, lists replaced."""
    merged = copy.deepcopy(base)
    for key, value in over.items():
        merged[key] = _merged(merged.get(key, {}), value) if isinstance(value, dict) else value
    return merged


def test_default_and_smoke_are_valid(default):
    smoke = yaml.safe_load((ROOT / "tests" / "smoke.yaml").read_text(encoding="utf-8"))
    assert validate(default) is default
    validate(_merged(default, smoke))


def _sections(schema, place="config"):
    if schema.get("type") == "object":
        yield place, schema
    for key, inner in schema.get("properties", {}).items():
        yield from _sections(inner, f"{place}.{key}")


def test_every_section_refuses_unknown_keys_and_every_value_is_described():
    """BITE: without additionalProperties: false, a misspelt key would silently leave the default in force."""
    for place, section in _sections(json.loads(SCHEMA.read_text(encoding="utf-8"))):
        assert section["additionalProperties"] is False, place
        assert sorted(section["required"]) == sorted(section["properties"]), place
        for key, value in section["properties"].items():
            assert value.get("type") == "object" or value.get("description"), f"{place}.{key}"


SMALL = {
    "type": "object",
    "additionalProperties": False,
    "required": ["seed", "walk"],
    "properties": {
        "seed": {"type": "integer", "minimum": 0, "description": "of every stream"},
        "walk": {
            "type": "object",
            "additionalProperties": False,
            "required": ["steps", "dims", "weight", "window"],
            "properties": {
                "steps": {"type": "integer", "minimum": 1, "description": "steps N"},
                "dims": {
                    "type": "array",
                    "minItems": 1,
                    "uniqueItems": True,
                    "items": {"type": "integer", "minimum": 1},
                },
                "weight": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1, "description": "weight p"},
                "window": {"enum": ["hann", "none"], "description": "taper"},
            },
        },
    },
}


@pytest.fixture
def refusal(tmp_path):
    """Changes made to a valid configuration of SMALL, by key of `walk` or of the top level → the error's message."""
    schema = tmp_path / "schema.json"
    schema.write_text(json.dumps(SMALL), encoding="utf-8")

    def refuse(top=(), **walk):
        valid = {"steps": 3, "dims": [1, 2], "weight": 0.5, "window": "hann"}
        validate({"seed": 0, "walk": valid}, schema)
        with pytest.raises(ConfigError) as caught:
            validate({"seed": 0, "walk": valid | walk, **dict(top)}, schema)
        assert "remedy: " in str(caught.value)
        return str(caught.value)

    return refuse


def test_unknown_key_names_place_nearest_and_allowed(refusal):
    message = refusal(stepz=3)
    assert "walk.stepz is not a key; allowed in walk: dims, steps, weight, window; remedy: did you mean steps?" in message


def test_several_mistakes_at_once(refusal):
    message = refusal(top={"wolk": {}, "seed": -1}, weight=2)
    assert "wolk is not a key; allowed in the top level: seed, walk; remedy: did you mean walk?" in message
    assert "seed = -1; allowed: an integer ≥ 0 (of every stream)" in message
    assert "walk.weight = 2; allowed" in message


def test_a_key_far_from_all_is_to_be_removed(refusal):
    assert "qqqq is not a key; allowed in the top level: seed, walk; remedy: remove it" in refusal(top={"qqqq": 1})


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("steps", 0, "walk.steps = 0; allowed: an integer ≥ 1 (steps N)"),
        ("steps", 50.0, "steps = 50.0; allowed: an integer"),  # range(50.0) would fail far from here
        ("steps", True, "steps = True; allowed: an integer"),
        ("steps", None, "steps = None; allowed: an integer"),
        ("steps", "1e2", "text: write 100000, without"),
        ("weight", "1e-1", "text: write 1.0e+5, without"),
        ("weight", 0, "weight = 0; allowed: a finite number > 0 and < 1 (weight p)"),
        ("weight", math.nan, "weight = nan; allowed: a finite number"),  # BITE: NaN is below no bound
        ("weight", math.inf, "weight = inf; allowed: a finite number"),
        ("dims", [10, 100, -1], "walk.dims[2] = -1; allowed: an integer ≥ 1"),
        ("dims", [], "dims = []; allowed: a list of at least 1, each an integer ≥ 1, no two equal"),
        ("dims", [10, 10], "dims = [10, 10]; allowed: a list"),
        ("dims", 10, "dims = 10; allowed: a list"),
        ("window", "hamming", "window = 'hamming'; allowed: one of 'hann', 'none' (taper)"),
    ],
)
def test_wrong_values(refusal, key, value, expected):
    assert expected in refusal(**{key: value})


def test_section_replaced_by_a_value_or_incomplete(refusal):
    assert "walk = 3; allowed: a section of keys" in refusal(top={"walk": 3})
    assert "walk.steps is missing; allowed: an integer ≥ 1 (steps N)" in refusal(top={"walk": {"dims": [1]}})


@pytest.mark.parametrize("size", [128, 256, 512])
def test_the_papers_protocol_is_a_valid_configuration(default, size):
    """config/imagenet-*.yaml over the default, as snakemake merges them, and the settings it names."""
    changes = yaml.safe_load((ROOT / "config" / f"imagenet-{size}.yaml").read_text(encoding="utf-8"))
    config = _merged(default, changes)
    validate(config)
    pixel = config["imagenet"]["pixel"]
    runs = [read(ROOT / pixel["settings"], run["changes"]) for run in pixel["runs"]]
    assert [run.noise.kind for run in runs] == ["shifted cosine" if size == 128 else "interpolated cosine", "spectral"]
    assert {run.model.resolution for run in runs} == {pixel["size"]} == {size}
    assert set(pixel["switches"]["steps"]) <= set(pixel["sweep"]["steps"])
    assert pixel["switches"]["sampler"] in pixel["sweep"]["samplers"]

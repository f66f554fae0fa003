"""Settings: what is read comes back, what is wrong is said with its key, and no file ends in somebody else's traceback."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as limits
from hypothesis import strategies as st

from imagenet import settings
from imagenet.settings import Model, Noise, Objective, Run, SettingsError, Training
from tests import tiny

RUNS = sorted((Path(__file__).parents[1] / "config" / "runs").glob("*.yaml"))
PLAIN = settings.as_dict(tiny.run())


def refused(call, *arguments: object) -> str:
    """The message of a SettingsError that says value, range and remedy."""
    with pytest.raises(SettingsError, match=r"(?s).+; allowed: .+; remedy: .+") as raised:
        call(*arguments)
    return str(raised.value)


@pytest.mark.parametrize("path", RUNS, ids=lambda p: p.stem)
def test_every_run_of_the_project_is_read_and_comes_back(path):
    run = settings.read(path)
    assert settings.build(Run, settings.as_dict(run), "again") == run
    assert settings.build(Run, json.loads(json.dumps(settings.as_dict(run))), "json") == run


def test_a_base_is_read_first_and_a_model_from_its_file(tmp_path):
    (tmp_path / "model.json").write_text(json.dumps(PLAIN["model"]))
    (tmp_path / "base.json").write_text(json.dumps(PLAIN | {"model": "model.json"}))
    (tmp_path / "run.yaml").write_text("base: base.json\nname: other\ntraining: {steps: 7}\n")
    run = settings.read(tmp_path / "run.yaml")
    assert run == dataclasses.replace(tiny.run(training__steps=7), name="other")


def test_changes_are_values_of_their_kind(tmp_path):
    (tmp_path / "run.json").write_text(json.dumps(PLAIN))
    changes = ["training.steps=7", "training.learning_rate=1e-4", "training.compile=true", "objective.bias=null", "name=a b"]
    run = settings.read(
        tmp_path / "run.json", [*changes, "noise.shape=geodesic", "training.betas=[0.5, 0.6]", "training.clip=Infinity"]
    )
    assert (run.training.steps, run.training.learning_rate, run.training.compile) == (7, 1e-4, True)
    assert (run.objective.bias, run.name, run.noise.shape) == (None, "a b", "geodesic")
    assert (run.training.betas, run.training.clip) == ((0.5, 0.6), math.inf)


def test_a_model_may_be_changed_to_that_of_a_file(tmp_path, monkeypatch):
    """From here, or as the file itself would name it; its keys may be changed further."""
    (tmp_path / "runs").mkdir()
    (tmp_path / "wide.json").write_text(json.dumps(PLAIN["model"] | {"name": "wide", "embedding": 32}))
    (tmp_path / "runs" / "run.json").write_text(json.dumps(PLAIN))
    for change in (f"model={tmp_path / 'wide.json'}", "model=../wide.json"):
        run = settings.read(tmp_path / "runs" / "run.json", [change, "model.dropout=0.5"])
        assert run.model == dataclasses.replace(tiny.run().model, name="wide", embedding=32, dropout=0.5)
    monkeypatch.chdir(tmp_path)
    assert settings.read("runs/run.json", ["model=wide.json"]).model.name == "wide"
    assert settings.changed(tiny.run(), ["model=wide.json"]).model.name == "wide"
    assert "none.json do not exist" in refused(settings.read, "runs/run.json", ["model=none.json"])
    assert "model = 3" in refused(settings.read, "runs/run.json", ["model=3"])


@pytest.mark.parametrize("change", ["steps", "=3", "name.steps=3", "training.steps.more=3"])
def test_a_change_that_is_none_is_refused(tmp_path, change):
    (tmp_path / "run.json").write_text(json.dumps(PLAIN))
    refused(settings.read, tmp_path / "run.json", [change])


@pytest.mark.parametrize(
    ("section", "values", "said"),
    [
        (Training, {"steps": 0, "batch": 1}, "training.steps = 0"),
        (Training, {"steps": 1, "batch": 10, "micro_batch": 4}, "micro_batch = 4 of batch 10"),
        (Training, {"steps": 1, "batch": 2**30}, "batch = 1073741824; allowed: ≤ 16777216"),
        (Training, {"steps": 1, "batch": 1, "learning_rate": 0.0}, "learning_rate = 0.0"),
        (Training, {"steps": 1, "batch": 1, "ema": 1.0}, "ema = 1.0"),
        (Training, {"steps": 1, "batch": 1, "clip": 0.0}, "clip = 0.0"),
        (Training, {"steps": 1, "batch": 1, "warm_up": -1}, "warm_up = -1"),
        (Training, {"steps": 1, "batch": 1, "betas": (0.9, 1.0)}, "betas"),
        (Training, {"steps": 1, "batch": 1, "weight_decay": -1.0}, "weight_decay"),
        (Training, {"steps": 1, "batch": 1, "post_hoc_every": 0}, "post_hoc_every = 0"),
        (Objective, {"prediction": "score"}, "prediction = 'score'"),
        (Objective, {"label_drop": 1.0}, "label_drop = 1.0"),
        (Noise, {"base_resolution": 0}, "base_resolution = 0"),
        (Noise, {"base_resolution": 99_999_999_999}, "base_resolution = 99999999999; allowed: 1 … 65536 px"),
        (Noise, {"base_at_noise": 2**20}, "base_at_noise = 1048576"),
        (Noise, {"epsilon": 1e-300}, "noise.epsilon = 1e-300; allowed: 1e-06 ≤ ε < ½"),
        (Objective, {"bias": math.inf}, "objective.bias = inf; allowed: −30 … 30"),
        (Objective, {"bias": -1e6}, "objective.bias = -1000000.0"),
        (Training, {"steps": 1, "batch": 1, "weight_decay": math.inf}, "weight_decay = inf"),
        (Noise, {"shape": "round"}, "shape = 'round'"),
    ],
)
def test_a_value_out_of_range_is_refused(section, values, said):
    assert said in refused(lambda: section(**values))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"resolution": 10, "patch": 2}, "a multiple of patch·2^(levels − 1) = 4; remedy: a resolution of 8 px"),
        ({"resolution": 1}, "remedy: a resolution of 2 px"),
        ({"types": "RRT"}, "lists of different lengths, {'channels': 2, 'types': 3, 'blocks + middle': 2}"),
        ({"blocks": (1, 1)}, "lists of different lengths"),
        ({"types": "RX"}, "letters R and T"),
        ({"types": "TR"}, "T at the last level"),
        ({"channels": (8,), "types": "T", "blocks": ()}, "at least two levels"),
        ({"dropout": 1.0}, "dropout = 1.0"),
        ({"middle": 0}, "count of 0"),
        ({"embedding": 10**9}, "count of 1000000000; allowed: ≤ 65536"),
    ],
)
def test_a_model_that_cannot_be_built_is_refused(changes, said):
    assert said in refused(lambda: dataclasses.replace(tiny.run().model, **changes))


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (
            {"modle": {}},
            "run: modle is not a key; allowed: name, model, training, noise, objective, seed; remedy: did you mean model?",
        ),
        ({"seed": "one"}, "run: seed = 'one'; allowed: an integer"),
        ({"seed": True}, "run: seed = True; allowed: an integer"),
        ({"seed": -1}, "seed = -1"),
        ({"training": []}, "run: training = []; allowed: a section of keys"),
        ({"training": {"steps": 3}}, "run: training: batch missing"),
        ({"training": {"steps": 3, "batch": 4, "flip": "yes"}}, "flip = 'yes'; allowed: true or false"),
        ({"training": {"steps": 3, "batch": 4, "betas": [0.9]}}, "betas = [0.9]; allowed: 2 entries"),
        ({"training": {"steps": 3, "batch": 4, "learning_rate": math.nan}}, "learning_rate = nan; allowed: a number"),
        ({"training": {"steps": 3, "batch": 4, "precision": "float16"}}, "precision = 'float16'; allowed: float32, bfloat16"),
        ({"noise": {"kind": ["spectral"]}}, "kind = ['spectral']; allowed: shifted cosine"),
        ({"noise": {"epsilon": 2.0}}, "epsilon"),
        ({"model": 3}, "run: model = 3"),
    ],
)
def test_what_is_wrong_in_a_record_is_named_with_its_place(values, said):
    with pytest.raises(SettingsError) as raised:
        settings.build(Run, PLAIN | values, "run")
    assert said in str(raised.value)
    assert "allowed" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("absent.yaml", None, "do not exist"),
        ("run.yaml", b"a: [1", "cannot be parsed"),
        ("run.json", b"{", "cannot be parsed"),
        ("run.json", b"[1]", "holds list"),
        ("run.yaml", b"", "holds NoneType"),
        ("run.yaml", b"\xff\xfe\x00", "cannot be"),
        ("run.yaml", b"base: nothing.yaml", "nothing.yaml do not exist"),
        ("run.yaml", b"base: run.yaml", "run.yaml needs itself as base or model"),
        ("run.yaml", b"base: .", "do not exist"),
        ("run.yaml", b"base: " + b"x" * 300, "do not exist"),
        ("run.yaml", b"model: nothing.yaml", "nothing.yaml do not exist"),
        ("run.yaml", b"!!python/object/apply:os.mkdir [executed]", "cannot be parsed"),
    ],
)
def test_a_file_that_is_none_is_refused(tmp_path, monkeypatch, name, content, said):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert said in refused(settings.read, tmp_path / name)
    assert not (tmp_path / "executed").exists()


# ---- any values -------------------------------------------------------------------------------------------------------

names = st.sampled_from(
    [
        "name",
        "model",
        "training",
        "noise",
        "objective",
        "seed",
        "steps",
        "batch",
        "kind",
        "channels",
        "betas",
        "patch",
        "base",
        "",
    ]
)
leaves = (
    st.none() | st.booleans() | st.integers(-5, 5) | st.integers() | st.floats() | st.text(max_size=4) | st.just("spectral")
)
anything = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=12
)


def places(values: dict, way: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    inner = [p for key, value in values.items() if isinstance(value, dict) for p in places(value, (*way, key))]
    return [(*way, key) for key in values] + inner


def changed(way: tuple[str, ...], value: object) -> dict:
    copy = json.loads(json.dumps(PLAIN))
    section = copy
    for key in way[:-1]:
        section = section[key]
    section[way[-1]] = value
    return copy


@limits(max_examples=150)
@given(st.sampled_from(places(PLAIN)), anything)
def test_any_value_at_any_place_is_taken_or_refused(way, value):
    try:
        run = settings.build(Run, changed(way, value), "run")
    except SettingsError as error:
        assert "allowed" in str(error)  # noqa: PT017
    else:
        assert settings.build(Run, settings.as_dict(run), "again") == run


@limits(max_examples=100)
@given(anything)
def test_anything_is_taken_or_refused(values):
    for kind in (Run, Model, Noise, Objective, Training):
        try:
            settings.build(kind, values, "any")
        except SettingsError as error:
            assert "allowed" in str(error)  # noqa: PT017


@limits(max_examples=150)
@given(
    st.sampled_from(["run.yaml", "run.json"]),
    st.binary(max_size=60) | st.text(max_size=60).map(str.encode) | anything.map(lambda v: yaml.safe_dump(v).encode()),
)
def test_any_file_is_taken_or_refused(tmp_path_factory, name, content):
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(content)
    try:
        settings.read(path)
    except SettingsError as error:
        assert "allowed" in str(error)  # noqa: PT017


@given(st.text(max_size=12))
def test_any_change_is_taken_or_refused(tmp_path_factory, change):
    path = tmp_path_factory.getbasetemp() / "plain.json"
    path.write_text(json.dumps(PLAIN))
    for text in (change, f"training.steps={change}", f"{change}=1", f"model={change}"):
        try:
            settings.read(path, [text])
        except SettingsError as error:
            assert "allowed" in str(error)  # noqa: PT017


def test_differences_name_keys_and_both_values():
    other = settings.as_dict(tiny.run(training__steps=3, noise__kind="shifted cosine")) | {"extra": 1}
    assert settings.differences(PLAIN, other) == [
        "extra: None and 1",
        "noise.kind: 'spectral' and 'shifted cosine'",
        "training.steps: 12 and 3",
    ]
    assert settings.differences(PLAIN, PLAIN) == []

"""All of a configuration is checked before anything of it runs: targets, keywords and types."""

import importlib
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nasrun.config import checking
from nasrun.config.building import build, build_all
from nasrun.config.checking import BASES, check
from nasrun.config.reading import instance

POINT = {"_target_": "points.Point"}


@pytest.fixture(autouse=True)
def places(monkeypatch):
    """A key for points, and one for nets."""
    monkeypatch.setattr(checking, "BASES", {**BASES, "node": "points.Point", "net": "points.Net"})


def refused(node, key="node", trusted=("points",)):
    with pytest.raises(ValueError) as error:  # noqa: PT011  the text is what the tests look at
        build(node, key, trusted)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "node.x: points.Point needs this key; give it a value"),
        ({"x": "one"}, "node.x=one: expected a whole number"),
        ({"x": 1.5}, "node.x=1.5: expected a whole number"),
        ({"x": True}, "node.x=True: expected a whole number"),
        ({"x": None}, "node.x=null: expected a whole number"),
        ({"x": -1}, "node.x=-1: use 0 or more"),
        ({"x": 10**30}, "node.x=1000000000000000000000000000000: use less than 2 to the power"),
        ({"x": 10**999}, "node.x=1" + "0" * 96 + "...: use less than 2 to the power of 63"),
        ({"x": 1, "y": "fast"}, "node.y=fast: expected a number"),
        ({"x": 1, "y": 1e99}, "node.y=1e+99: use at most 3.4e+38"),
        ({"x": 1, "y": float("nan")}, "node.y=nan: expected a finite number"),
        ({"x": 1, "on": 1}, "node.on=1: expected true or false"),
        ({"x": 1, "name": 3}, "node.name=3: expected a text"),
        ({"x": 1, "kind": "c"}, "node.kind=c: expected a or b"),
        ({"x": 1, "pair": [1]}, "expected a list of 2 whole numbers"),
        ({"x": 1, "pair": 1}, "expected a list of 2 whole numbers"),
        ({"x": 1, "many": ["a", 1]}, "expected a list of texts"),
        ({"x": 1, "some": 3}, "node.some=3: expected a list of texts, or null"),
        ({"x": 1, "some": "abc"}, "node.some=abc: expected a list of texts, or null"),
        ({"x": 1, "kept": 0}, "node.kept=0: expected keys, each with a list of texts, or null"),
        ({"x": 1, "kept": {"edge": "a"}}, "expected keys, each with a list of texts, or null"),
        ({"x": 1, "loose": [1]}, "float() argument must be"),
        ({"x": 1, "inner": 3}, "expected Point or null"),
        ({"x": 1, "inner": {"x": 3}}, "node.inner={...}: expected Point or null"),
        ({"x": 1, "inner": {**POINT, "x": -2}}, "node.inner.x=-2: use 0"),
        ({"x": 1, "inner": {**POINT, "z": 2}}, "node.inner.z=2: points.Point has no such"),
        ({"x": 1, "inner": {**POINT, "x": 1, "_partial_": True}}, "node.inner=points.Point: expec"),
        ({"x": 1, "inner": {"_target_": "points.Stranger"}}, "node.inner=points.Stranger: expec"),
        ({"x": 1, "loose": {"_target_": "nasrun.schedules.Constant"}}, "needs a parameter with a"),
        ({"x": 1, "name": {"_target_": "points.Stranger"}}, "node.name=points.Stranger: expected"),
        ({"x": 1, "many": [{"_target_": "points.Stranger"}]}, "expected a list of texts"),
        ({"x": 1, "nane": "a"}, "has no such keyword, did you mean name?"),
        ({"x": 1, "zzzzzz": "a"}, "has no such keyword; leave it out"),
        ({"x": 1, "_args_": [1]}, "node._args_: is not read"),
        ({"x": 1, "_recursive_": False}, "node._recursive_: is not read"),
        ({"x": 1, "_convert_": "none"}, "node._convert_: is not read"),
        ({"x": 1, "_partial_": True}, "node=points.Point: expected Point"),
        ({"x": 1, "_partial_": "yes"}, "node._partial_=yes: expected true or false"),
        ({"x": 1, "rule": "good"}, "node.rule=good: expected a factory of a number"),
        ({"x": 1, "rule": {"_target_": "points.good"}}, "node.rule=points.good: expected"),
    ],
)
def test_a_wrong_keyword_or_type_is_told_before_anything_is_built(settings, expected):
    assert expected in refused({**POINT, **settings})


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("os.system", "node._target_=os.system: not trusted; code outside nasrun needs trust=[os]"),
        ("torch.load", "not trusted"),
        ("torch.optimizers.X", "not trusted"),
        ("nasrunner.X", "not trusted"),
        ("builtins.eval", "not trusted"),
        ("points", "not trusted"),
        (3, "not trusted"),
        ("nasrun.nothing.X", "there is no module nasrun.nothing"),
        ("nasrun.__main__.main", "private"),
        ("nasrun.files._told", "private"),
        ("nasrun.runs.run.", "private"),
        ("nasrun.budget.Budgt", "nasrun.budget has no Budgt, did you mean Budget?"),
        ("nasrun.budget.LIMITS", "nasrun.budget has no LIMITS"),
        ("nasrun.runs.run.Path", "nasrun.runs.run only imports it; name a class where it is def"),
        ("nasrun.strategies.radars.Explore", "only imports it; name a class where it is defined"),
        ("nasrun.retrain.Retrain.begin", "there is no module nasrun.retrain.Retrain"),
        ("nasrun.spaces.darts.DartsSpace", "node=nasrun.spaces.darts.DartsSpace: expected Point"),
        ("nasrun.config.trust.import_trusted", "import_trusted: expected Point"),
        ("torch.optim.AdmW", "torch.optim has no AdmW, did you mean AdamW?"),
        ("torch.optim.SGD", "expected Point"),
        ("points.good", "node=points.good: expected Point"),
    ],
)
def test_a_target_is_a_class_of_the_right_kind_that_its_module_defines(target, expected):
    assert expected in refused({"_target_": target})
    outer = {**POINT, "x": 1, "inner": {**POINT, "x": 1, "many": [{"_target_": target}]}}
    assert "node.inner.many" in refused(outer)


def test_nothing_is_made_before_every_node_is_checked(monkeypatch):
    made = []
    import points

    monkeypatch.setattr(points, "float", made.append, raising=False)
    good, bad = {**POINT, "x": 1}, {"_target_": "points.Net", "optimizer": 3}
    with pytest.raises(ValueError, match=r"net\.optimizer=3: expected an optimizer"):
        build_all({"node": good, "net": bad}, ("points",))
    assert made == []
    build(good, "node", ("points",))
    assert made == [0]


def test_trust_admits_a_package_and_not_its_namesakes():
    node = {**POINT, "x": 1}
    assert "trust=[points]" in refused(node, trusted=())
    assert "not trusted" in refused(node, trusted=("point",))
    check({"node": node}, ("points",))


def test_a_function_is_a_target_only_for_a_parameter_of_its_signature():
    def node(name, **given):
        return {**POINT, "x": 1, "rule": {"_target_": f"points.{name}", "_partial_": True, **given}}

    assert build(node("good"), "node", ("points",)).rule(3, "a") == 3
    assert build(node("good", times=2.0), "node", ("points",)).rule(3, "a") == 6
    assert build(node("needy", times=2.0), "node", ("points",)).rule(3, "a") == 6
    assert build(node("unsaid"), "node", ("points",)).rule(3, "a") == 0
    for wrong in (node("other"), node("needy"), node("good", x=3), node("Stranger")):
        assert "node.rule=" in refused(wrong)
    assert "points.good has no such keyword, did you mean times?" in refused(node("good", tmes=2))
    assert "private" in refused(node("_private"))


def test_optimizers_are_tried_on_nothing_before_a_net_exists():
    def node(name="SGD", **given):
        target = {"_target_": f"torch.optim.{name}", "_partial_": True}
        return {"_target_": "points.Net", "optimizer": {**target, **given}}

    def told(node):
        return refused(node, "net")

    assert told(node(lr=0.1, nesterov=True)).startswith("net.optimizer: Nesterov momentum")
    good = build(node(lr=0.1, momentum=0.9, nesterov=True), "net", ("points",)).optimizer
    import torch

    assert good([torch.zeros(1, requires_grad=True)]).param_groups[0]["lr"] == 0.1
    assert "net.optimizer.lr=fast: expected a number" in told(node(lr="fast"))
    assert told(node("Adam", betas=[0.5])).startswith("net.optimizer.betas=[0.5]: expected")
    assert "net.optimizer.lr=1e+99: use at most 3.4e+38" in told(node(lr=1e99))
    assert "net.optimizer: " in told(node("LBFGS"))  # its step asks for the loss
    assert "net.optimizer: " in told(node("SparseAdam"))  # it takes no dense gradients
    assert "expected an optimizer" in told(node("lr_scheduler.StepLR", step_size=3))
    for wrong in ("adam", 1, None, {"lr": 0.1}, {"_target_": "torch.optim.SGD", "lr": 0.1}):
        told_text = told({"_target_": "points.Net", "optimizer": wrong})
        assert "net.optimizer=" in told_text
        assert "expected an optimizer" in told_text


def test_other_errors_of_a_constructor_are_not_hidden(monkeypatch):
    import points

    monkeypatch.setattr(points.Point, "__init__", points.broken)
    with pytest.raises(RuntimeError, match="a bug"):
        build({**POINT, "x": 1}, "node", ("points",))


def test_every_place_has_its_base_class_where_it_is_defined():
    for path in BASES.values():
        module, _, name = path.rpartition(".")
        assert inspect.isclass(getattr(importlib.import_module(module), name))
        assert instance(path).path == path


PROBE = """
import json, random, sys
import torch
from check_attack import names, plant
from nasrun.config import check, compose, resolve

HAPPENED = []
watched = ("import", "exec", "open", "os.", "subprocess.", "socket.", "shutil.", "ctypes.")
def hook(event, arguments):
    if recording and event.startswith(watched) and not event.startswith(("os.listdir", "os.scan")):
        if event != "open" or not set(arguments[1] or "r") <= set("rbt"):
            HAPPENED.append((event, str(arguments)))

recording = False
sys.addaudithook(hook)
seeded, known = random.Random(0), names()
groups = ("space", "strategy", "selector", "budget", "task", "retrain", "dataset")
composed = [compose([f"{group}={option}"]).config for group, option in
            (("strategy", "radars"), ("task", "gan"), ("strategy", "random"))]
plain = [{key: resolve(config[key]) for key in groups} for config in composed]
for nodes in plain:
    check(nodes, ())
counts = {"refused": 0, "fits": []}
for _ in range(1000):
    nodes = json.loads(json.dumps(seeded.choice(plain)))
    targets = plant(seeded.choice(list(nodes.values())), seeded, known)
    recording = True
    try:
        check(nodes, ())
        counts["fits"].append(targets)
    except ValueError as error:
        counts["refused"] += 1
        assert len(str(error).splitlines()) == 1, error
    recording = False
print(json.dumps({**counts, "known": len(known), "happened": HAPPENED}))
"""


def test_of_a_thousand_random_trees_of_targets_none_runs(tmp_path):
    scripts = Path(__file__).parents[2] / "scripts"
    paths = os.pathsep.join(filter(None, (str(scripts), os.environ.get("PYTHONPATH"))))
    asked = subprocess.run(
        [sys.executable, "-B", "-c", PROBE],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert asked.returncode == 0, asked.stderr
    answer = json.loads(asked.stdout)
    assert answer["happened"] == []
    assert answer["known"] > 10_000
    assert answer["refused"] > 950
    for target in (target for targets in answer["fits"] for target in targets):
        module, _, name = target.rpartition(".")  # what was put in is right where it stands
        assert target.startswith("nasrun.")
        assert inspect.isclass(getattr(importlib.import_module(module), name))
    assert list(Path(tmp_path).iterdir()) == []

"""From overrides to objects: what is found before anything is built, and how it is told."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest

from nasrun import config
from nasrun.config import build, check_targets, compose, frame, resolve


def told(call, *arguments):
    with pytest.raises(ValueError) as error:  # noqa: PT011  the text is what the tests look at
        call(*arguments)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_overrides_choose_options_and_values():
    composed = compose(["strategy=snas", "width=4", "space.nodes=3"])
    assert composed.choices["strategy"] == "snas"
    assert composed.choices["selector"] == "argmax"  # the strategy's own rule
    assert composed.config.space.channels == 4
    assert composed.config.space.nodes == 3
    assert compose(["strategy=snas", "selector=magnitude"]).choices["selector"] == "magnitude"
    assert "hydra" not in composed.config


def test_an_experiment_overrides_and_the_command_line_overrides_it():
    smoke = compose(["experiment=smoke"]).config
    assert (smoke.rounds, smoke.width) == (1, 4)
    both = compose(["experiment=smoke", "rounds=3"]).config
    assert (both.rounds, both.width) == (3, 4)


def test_every_variant_follows_the_frame():
    for strategy in ("darts", "darts_2nd", "snas", "milenas"):
        node = resolve(
            compose([f"strategy={strategy}", "rounds=7", "alpha_lr=0.5"]).config.strategy
        )
        assert node["rounds"] == 7
        assert node["alpha_optimizer"]["lr"] == 0.5


def test_a_user_folder_adds_options(tmp_path):
    (tmp_path / "strategy").mkdir()
    (tmp_path / "strategy" / "mine.yaml").write_text("# Mine\ndefaults:\n  - darts\nrounds: 3\n")
    found = f"hydra.searchpath=[file://{tmp_path}]"
    assert compose([found, "strategy=mine"]).config.strategy.rounds == 3
    assert "did you mean mine" in told(compose, [found, "strategy=mien"])
    assert config.options("strategy", [tmp_path])["mine"] == "Mine"


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("roundz=3", "roundz=3: unknown key, did you mean rounds?"),
        ("strategy.levl.lam=3", "strategy.levl.lam=3: unknown key"),
        ("retrain.task.augment.cutot=1", "did you mean retrain.task.augment.cutout?"),
        ("lr=1", "did you mean"),
        ("transfer/dataset=digits", "transfer/dataset"),
        ("~strategy.rounds2", "strategy.rounds2"),
        ("rounds=", "rounds"),
        ("rounds={a:1}", "rounds"),
        ("dataset=[digits,mnist5k]", "dataset=[digits,mnist5k]: one option; several need -m"),
        ("width=1.5", "width"),
        ("progress=perhaps", "progress"),
        ("seed=null", "seed"),
        ("seed=9223372036854775808", "seed=9223372036854775808: below 2 to the power of 63"),
        ("stages=search", "stages"),
        ("=3", "=3"),
    ],
)
def test_what_is_wrong_is_told_with_its_key(override, expected):
    assert expected in told(lambda: frame(compose([override]).config))


def test_the_frame_has_bounds():
    good = compose([]).config
    assert frame(good).seed == 0
    for key, bad in (("seed", -1), ("rounds", 0), ("width", 0), ("depth", 2), ("images", 0)):
        assert told(frame, compose([f"{key}={bad}"]).config).startswith(f"{key}={bad}: at least")


POINT = "nasrun.config.checking.Point"


class Point:
    def __init__(
        self,
        *,
        x: int,
        y: float = 0.0,
        name: str = "",
        on: bool = False,
        kind: Literal["a", "b"] = "a",
        pair: tuple[int, int] = (0, 0),
        many: tuple[str, ...] = (),
        inner: "Point | None" = None,
        some: "Sequence[str] | None" = None,
        kept: "Mapping[str, Sequence[str]] | None" = None,
        loose: Any = 0,
    ) -> None:
        float(loose)
        if x < 0:
            raise ValueError(f"x={x}: from 0 on")
        self.x, self.y, self.pair, self.many, self.inner = x, y, pair, many, inner


@pytest.fixture
def point(monkeypatch):
    """The target of a node that may be built."""
    monkeypatch.setattr("nasrun.config.checking.Point", Point, raising=False)
    monkeypatch.setattr(Point, "__module__", "nasrun.config.checking")
    return POINT


def test_a_node_is_built_with_its_children(point):
    made = build(
        {"_target_": point, "x": 1, "y": 2, "many": ["a"], "inner": {"_target_": point, "x": 3}},
        "node",
    )
    assert (made.x, made.y, made.many, made.inner.x) == (1, 2, ["a"], 3)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, "node.x: nasrun.config.checking.Point needs it, and it is not given"),
        ({"x": "one"}, "node.x=one: expected a whole number"),
        ({"x": 1.5}, "node.x=1.5: expected a whole number"),
        ({"x": True}, "node.x=True: expected a whole number"),
        ({"x": None}, "node.x=null: expected a whole number"),
        ({"x": -1}, "node.x=-1: from 0 on"),
        ({"x": 1, "y": "fast"}, "node.y=fast: expected a number"),
        ({"x": 1, "on": 1}, "node.on=1: expected true or false"),
        ({"x": 1, "name": 3}, "node.name=3: expected a text"),
        ({"x": 1, "kind": "c"}, "node.kind=c: expected a or b"),
        ({"x": 1, "pair": [1]}, "expected a list of 2 a whole number"),
        ({"x": 1, "pair": 1}, "expected a list of 2 a whole number"),
        ({"x": 1, "many": ["a", 1]}, "expected a list of a text"),
        ({"x": 1, "some": 3}, "node.some=3: expected a list of a text or null"),
        ({"x": 1, "some": "abc"}, "node.some=abc: expected a list of a text or null"),
        ({"x": 1, "kept": 0}, "node.kept=0: expected keys, each with a list of a text or null"),
        ({"x": 1, "kept": {"edge": "a"}}, "expected keys, each with a list of a text or null"),
        ({"x": 1, "loose": [1]}, "float() argument must be"),
        ({"x": 1, "inner": 3}, "expected Point or null"),
        (
            {"x": 1, "inner": {"_target_": POINT, "x": -2}},
            "inner.x=-2: from",
        ),
        (
            {"x": 1, "inner": {"_target_": "nasrun.config.checking.Point", "z": 2}},
            "inner.z=2: n",
        ),
        ({"x": 1, "nane": "a"}, "has no such keyword, did you mean name?"),
    ],
)
def test_a_wrong_keyword_or_type_is_told_before_anything_is_built(point, settings, expected):
    assert expected in told(build, {"_target_": point, **settings}, "node")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("os.system", "node._target_=os.system: not trusted; code outside nasrun needs trust=[os]"),
        ("torch.load", "not trusted"),
        ("torch.optimizers.X", "not trusted"),
        ("nasrunner.X", "not trusted"),
        ("builtins.eval", "not trusted"),
        (3, "not trusted"),
        ("nasrun.nothing.X", "there is no module nasrun.nothing"),
        ("nasrun.config.keys.Nothing", "nasrun.config.keys has no Nothing"),
        ("torch.optim.Sdg", "torch.optim has no Sdg"),
    ],
)
def test_a_target_must_be_trusted_and_exist(target, expected):
    assert expected in told(build, {"_target_": target}, "node")
    outer = {"_target_": "nasrun.config.keys.Frame", "space": {"a": [{"_target_": target}]}}
    assert "node.space.a[0]._target_" in told(build, outer, "node")


def test_trust_admits_a_package_and_not_its_namesakes():
    node = {"_target_": "fractions.Fraction"}
    assert "trust=[fractions]" in told(check_targets, node, (), "node")
    assert "not trusted" in told(check_targets, node, ("fraction",), "node")
    check_targets(node, ("fractions",), "node")


def test_optimizers_are_tried_on_nothing_before_a_net_exists():
    node = {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1, "nesterov": True}
    assert told(build, node, "net.optimizer").startswith("net.optimizer: Nesterov momentum")
    good = build({**node, "momentum": 0.9}, "net.optimizer")
    import torch

    assert good([torch.zeros(1, requires_grad=True)]).param_groups[0]["lr"] == 0.1
    assert "net.optimizer.lr=fast: expected" in told(build, {**node, "lr": "fast"}, "net.optimizer")
    betas = {"_target_": "torch.optim.Adam", "_partial_": True, "betas": [0.5]}
    assert told(build, betas, "net.optimizer").startswith("net.optimizer.betas=[0.5]: expected")


def test_a_key_that_must_be_given_is_named():
    node = compose(["transfer=imagenet"]).config.transfer
    assert told(resolve, node).startswith("transfer.dataset.root: has no default, give it on the")


def test_other_errors_of_a_constructor_are_not_hidden(point, monkeypatch):
    def fails(self, *, x: int) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Point, "__init__", fails)
    with pytest.raises(Exception, match="a bug") as error:
        build({"_target_": point, "x": 1}, "node")
    assert not isinstance(error.value, ValueError)

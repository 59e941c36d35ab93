"""From overrides to a configuration: what is chosen, what is overridden, and what is refused."""

import pytest

from nasrun import config
from nasrun.config import compose, depends, frame, resolve


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
        (
            "strategy.curvature.images=2",
            "strategy.curvature is null and has no keys: give all of it, "
            "'strategy.curvature={_target_: ..., images: ...}', if it takes an object",
        ),
        ("transfer/dataset=digits", "transfer/dataset"),
        ("~strategy.rounds2", "strategy.rounds2"),
        ("rounds=", "rounds"),
        ("rounds={a:1}", "rounds"),
        (
            "dataset=[digits,mnist5k]",
            "dataset=[digits,mnist5k]: names several options; name one",
        ),
        ("width=1.5", "width"),
        ("progress=perhaps", "progress"),
        ("seed=null", "seed"),
        (
            "seed=9223372036854775808",
            "seed=9223372036854775808: use less than 2 to the power of 63",
        ),
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
        assert told(frame, compose([f"{key}={bad}"]).config).startswith(
            f"{key}={bad}: use at least"
        )


def test_an_empty_path_is_not_the_current_folder():
    for key in ("outputs", "run", "genotype"):
        assert told(frame, compose([f"{key}="]).config).startswith(f"{key}=: is empty; give a")


def test_a_key_that_must_be_given_is_named():
    node = compose(["transfer=imagenet"]).config.transfer
    assert told(resolve, node).startswith("transfer.dataset.root: has no default; give it on the")


@pytest.mark.parametrize(
    "value",
    [
        "${width}",
        "${..width}",
        "${space.channels}",
        "${oc.select:width,3}",
        "${oc.select: 'width', 3}",
    ],
)
def test_every_form_of_reference_makes_a_value_depend_on_a_key(value):
    config = compose([f"retrain.channels={value}", "width=6"]).config
    assert depends(config, ["retrain"], "width")
    assert depends(config, ["retrain.channels"], "width")
    assert not depends(config, ["retrain", "dataset"], "batch_size")
    assert depends(config, ["dataset"], "images")  # which is null
    assert config.width == 6 and config.images is None

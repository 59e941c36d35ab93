"""Optimizers and formulas are named on the command line; what is none is refused with the names."""

import json

import pytest
import torch
import yaml

from nasrun.config import OPTIMIZERS, build, compose, conf_folder, options, resolve
from nasrun.config.named import beneath_names

PLACES = {
    (): (
        *("retrain.optimizer", "transfer.optimizer"),
        *("strategy.weight_optimizer", "strategy.alpha_optimizer"),
    ),
    ("strategy=random",): ("strategy.evaluator.optimizer",),
    ("strategy=radars",): (
        *("strategy.explore.optimizer", "strategy.explore.controller.optimizer"),
        "strategy.inner.weight_optimizer",
    ),
    ("strategy=pbtnas", "task=gan"): ("task.optimizer",),
}
"""Every kind of place that an optimizer has, with the words that make it."""


def nodes(keys, *words):
    config = compose(list(words)).config
    for key in keys:
        node = config
        for part in key.split("."):
            node = node[part]
        yield key, resolve(node)


def test_a_name_replaces_the_optimizer_with_all_its_keys_wherever_there_is_one():
    for words, keys in PLACES.items():
        named = [word for key in keys for word in (f"{key}=adamw", f"{key}.lr=3e-4")]
        for key, made in nodes(keys, *words, *named):
            assert made == {
                "_target_": "torch.optim.AdamW",
                "_partial_": True,
                "lr": 3e-4,
                "betas": [0.9, 0.999],
                "eps": 1e-8,
                "weight_decay": 0.01,
            }, key


def test_the_order_of_a_name_and_its_keys_does_not_matter():
    for words in (["retrain.optimizer=sgd"], ["retrain.optimizer.lr=0.3", "retrain.optimizer=sgd"]):
        ((_, made),) = nodes(["retrain.optimizer"], *words)
        assert made["lr"] == (0.3 if len(words) == 2 else 0.025)
        assert made["momentum"] == 0.9
    added = "+retrain.optimizer.amsgrad=true"
    ((_, made),) = nodes(["retrain.optimizer"], "retrain.optimizer=adam", added)
    assert made["amsgrad"] is True


def test_every_name_is_an_optimizer_that_torch_has():
    names = options(OPTIMIZERS)
    assert {"sgd", "adam", "adamw"} <= set(names)
    recipe = resolve(compose([]).config["retrain"])
    for name in names:
        text = (conf_folder() / OPTIMIZERS / f"{name}.yaml").read_text()
        factory = build(recipe | {"optimizer": yaml.safe_load(text)}, "retrain").optimizer
        assert type(factory([torch.zeros(1)])).__name__.lower() == name


@pytest.mark.parametrize("value", ["adamm", "null", "1", "true", "${seed}"])
def test_whatever_is_no_optimizer_is_refused_with_the_names(nasrun, here, value):
    for verb, key in (
        ("run", "retrain.optimizer"),
        ("search", "strategy.weight_optimizer"),
        ("search", "strategy.alpha_optimizer"),
        ("run", "transfer.optimizer"),
    ):
        told = nasrun(verb, f"{key}={value}").refusal
        assert told.startswith(f"nasrun: {key}=")
        assert "expected an optimizer: on the command line adam, adamw, " in told
        assert ("did you mean adam?" in told) == (value == "adamm")
    assert list(here.iterdir()) == []


def test_a_key_that_the_named_optimizer_does_not_have_is_refused(nasrun):
    words = ["run", "retrain.optimizer=adamw", "retrain.optimizer.momentum=0.9"]
    assert "retrain.optimizer.momentum=0.9: unknown key" in nasrun(*words).refusal
    words[-1] = "+retrain.optimizer.momentum=0.9"
    assert "torch.optim.AdamW has no such keyword" in nasrun(*words).refusal
    words[-1] = "retrain.optimizer.lrr=1"
    assert "did you mean retrain.optimizer.lr?" in nasrun(*words).refusal


def test_a_value_that_is_no_optimizers_may_be_called_like_one(nasrun):
    told = nasrun("search", "dataset=image_folder", "dataset.root=adam").refusal
    assert told.startswith("nasrun: dataset.root=adam: there is no such folder")


def test_a_rate_that_a_named_optimizer_does_not_read_is_refused(nasrun):
    words = ["search", "strategy.alpha_optimizer=adamw", "alpha_lr=0.1"]
    told = nasrun(*words).refusal
    assert told.endswith("has its own; type strategy.alpha_optimizer.lr=0.1")
    told = nasrun("search", "strategy=random", "alpha_lr=0.1").refusal
    assert told.endswith("alpha_lr=0.1: has no effect, nothing here reads alpha_lr; leave it out")


def test_a_sweep_forces_keys_below_names():
    words = ["a.b=sgd,adamw", "a.b.lr=1,2", "a.bc=3", "seed=0", "+a.b.x=1", "c.d=sgd", "c.d.lr=1"]
    forced = ["a.b=sgd,adamw", "++a.b.lr=1,2", "a.bc=3", "seed=0", "+a.b.x=1", "c.d=sgd"]
    assert beneath_names(words, []) == [*forced, "++c.d.lr=1"]


def test_a_sweep_over_names_trains_with_each(nasrun, here, small):
    key = "strategy.weight_optimizer"
    words = [f"{key}=sgd,adamw", f"{key}.lr=0.01", "rounds=1"]
    answer = nasrun("search", "-m", *small, *words, "progress=false")
    assert answer.status == 0
    found = set()
    for path in here.glob("outputs/*/v*/config.yaml"):
        optimizer = yaml.safe_load(path.read_text())["strategy"]["weight_optimizer"]
        found.add((optimizer["_target_"], optimizer["lr"]))
    assert found == {("torch.optim.SGD", 0.01), ("torch.optim.AdamW", 0.01)}


def test_the_printed_configuration_has_the_node(nasrun):
    answer = nasrun("search", "strategy.weight_optimizer=adamw", "--cfg", "job")
    assert "_target_: torch.optim.AdamW" in answer.out
    listed = json.loads(nasrun("list", "optimizer", "format=json").out)
    assert {"sgd", "adam", "adamw"} <= {record["option"] for record in listed}


def test_formulas_are_named_wherever_an_evaluator_has_some():
    naswot = {"_target_": "nasrun.evaluators.naswot.Naswot"}
    zico = {"_target_": "nasrun.evaluators.zico.Zico", "batches": 2}
    ranked = ["strategy=random", "evaluator@strategy=ranked"]
    for words, key in (
        (ranked, "strategy.evaluator"),
        (["strategy=area"], "strategy.warm_start.evaluator"),
    ):
        for listed in ("[naswot,zico]", "[ naswot, zico ]"):
            ((_, made),) = nodes([key], *words, f"{key}.formulas={listed}")
            assert made["formulas"] == [naswot, zico]
    joined = build(resolve(compose([*ranked, "strategy.evaluator.formulas=[az_nas,swap]"]).config
                           ["strategy"]), "strategy")  # fmt: skip
    assert [len(each.names) for each in joined.evaluator.formulas] == [4, 1]


def test_what_names_no_formula_is_refused_with_those_that_there_are(nasrun):
    words = ["search", "strategy=random", "evaluator=ranked"]
    for value, told in (
        ("[naswot,synflo]", "synflo is no score of untrained networks, did you mean synflow?"),
        ("[inherited]", "inherited is no score of untrained networks; there are az_nas, depth, "),
        ("[naswot,naswot]", "they give the numbers [naswot, naswot]; use at least one"),
    ):
        refusal = nasrun(*words, f"evaluator.formulas={value}").refusal
        assert "strategy.evaluator.formulas" in refusal and told in refusal, refusal


def test_ones_own_formulas_have_names_too_beside_files_that_cannot_be_read(tmp_path):
    folder = tmp_path / "conf/evaluator"
    folder.mkdir(parents=True)
    mine = "# Mine\nevaluator:\n  formulas:\n    - {_target_: mine.Mine, share: 0.5, of: [1, 2]}\n"
    files = {
        "mine": mine,
        "torn": "# Torn\n{",
        "empty": "# Empty\n",
        "odd": "# Odd\nevaluator: 3\n",
    }
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    words = [f"hydra.searchpath=[file://{tmp_path / 'conf'}]", "strategy=random"]
    words += ["evaluator@strategy=ranked", "strategy.evaluator.formulas=[mine,macs]"]
    ((_, made),) = nodes(["strategy.evaluator"], *words)
    assert made["formulas"] == [
        {"_target_": "mine.Mine", "share": 0.5, "of": [1, 2]},
        {"_target_": "nasrun.evaluators.counts.Macs"},
    ]
    with pytest.raises(ValueError, match=r"odd is no score of untrained networks"):
        compose([*words[:-1], "strategy.evaluator.formulas=[odd,macs]"])

"""The most general space: networks and their notation; nothing else asks more of it."""

import json

import pytest

RESIDUAL = '''
"""Networks of so many 3x3 convolutions, in a space without decisions."""

from dataclasses import dataclass

from torch import nn

from nasrun.genotype import Genotype
from nasrun.networks import ImageClassifier
from nasrun.spaces.base import ClassifierSpace


@dataclass(frozen=True, kw_only=True)
class Plain(ClassifierSpace):
    deepest: int

    name = "plain"

    def network(self, genotype, *, inputs, outputs, layout=None):
        return Stack(int(self.check(genotype)["depth"]), inputs, outputs, layout.channels)

    def check(self, genotype):
        if not genotype.get("depth", "").isdigit() or int(genotype["depth"]) > self.deepest:
            raise ValueError(f"genotype: use a depth of at most {self.deepest}")
        return genotype

    def render(self, genotype):
        return genotype["depth"]

    def parse(self, text):
        return self.check(Genotype(self.name, {"depth": text.strip()}))

    def cells(self, genotype):
        return {"stack": [("in", "out", genotype["depth"])]}


class Stack(ImageClassifier):
    def __init__(self, depth, inputs, outputs, channels):
        super().__init__()
        widths = [inputs] + [channels] * depth
        self.layers = nn.Sequential(*(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.ReLU())
            for a, b in zip(widths, widths[1:])
        ))
        self.classifier = nn.Linear(channels, outputs)

    def forward(self, x):
        return (self.classifier(self.layers(x).mean((2, 3))),)
'''


@pytest.fixture
def plain(here, monkeypatch):
    """The words that name such a space of a user's."""
    monkeypatch.syspath_prepend(str(here))
    (here / "fixed").mkdir()
    (here / "fixed/__init__.py").touch()
    (here / "fixed/plain.py").write_text(RESIDUAL)
    (here / "myconf/space").mkdir(parents=True)
    text = "# Stacks of convolutions: nothing to search\n_target_: fixed.plain.Plain\ndeepest: 4\n"
    (here / "myconf/space/plain.yaml").write_text(text)
    return ["space=plain", f"hydra.searchpath=[file://{here / 'myconf'}]", "trust=[fixed]"]


def test_a_network_is_retrained_shown_and_loaded_without_anything_to_search(nasrun, plain, here):
    import nasrun as package

    (here / "net.txt").write_text("2")
    words = ["genotype=net.txt", *plain, "epochs=1", "images=64", "budget.threads=1"]
    ended = nasrun("retrain", *words, "retrain.channels=4", "retrain.auxiliary=false")
    assert ended.status == 0, ended.err
    (run,) = (here / "outputs").glob("*/v001")
    result = json.loads((run / "retrain/net/result.json").read_text())
    assert result["params"] == (9 * 1 * 4 + 4) + (9 * 4 * 4 + 4) + (4 * 10 + 10)
    loaded = package.load(run, trust=["fixed"])
    assert sum(p.numel() for p in loaded.network.parameters()) == result["params"]
    shown = nasrun("show", run, "trust=[fixed]", "format=json")
    assert shown.status == 0, shown.err


def test_who_asks_for_more_is_refused_with_what_has_it(nasrun, plain, here):
    common = [*plain, "budget.threads=1"]
    for words, needed in (
        (["search", "strategy=darts"], "strategy=darts needs a supernet: space=plain has none"),
        (["search", "strategy=pbtnas"],
         "strategy=pbtnas needs modules that networks inherit: space=plain has none"),
        (["retrain", "genotype=random"], "genotype=random needs architectures to draw"),
        (["retrain", "genotype=net.txt", "budget.max_params_m=1"],
         "a limit on the found network needs a supernet: space=plain has none"),
    ):  # fmt: skip
        (here / "net.txt").write_text("2")
        assert needed in nasrun(*words, *common).refusal
    assert not (here / "outputs").exists()


def test_a_task_is_refused_networks_of_another_kind_with_who_trains_them(nasrun, here):
    refusal = nasrun("search", "strategy=pbtnas", "space=darts").refusal
    assert "task=gan needs a generator and a discriminator" in refusal
    assert "space=darts has networks that classify images" in refusal
    assert "use space=gan or gan_hard, or task=classification" in refusal
    refusal = nasrun("search", "strategy=random", "evaluator=inherited", "space=gan").refusal
    assert "needs a supernet: space=gan has none; use space=darts, mobile or nasbench201" in refusal
    assert list(here.iterdir()) == []

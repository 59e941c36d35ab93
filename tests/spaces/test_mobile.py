"""The mobile space: its sizes, its one network class, and its subspaces."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nasrun.config import build, compose, resolve
from nasrun.costs.cost import count
from nasrun.genotype import SKIP, Genotype, Misfit
from nasrun.spaces.layout import Layout
from nasrun.spaces.mobile import MobileSpace, stages
from nasrun.spaces.supernet import batch_statistics
from nasrun.supernet.mixture import Mixture
from nasrun.supernet.relaxation import Softmax
from nasrun.supernet.supernet import Supernet, argmax, magnitude


def space(**changes):
    settings = {
        "kernels": (3, 5),
        "expansions": (1, 3),
        "widths": (100, 50),
        "squeeze": (False, True),
        "skip": True,
        "channels": 4,
        "layers": 4,
    }
    return MobileSpace(**{**settings, **changes})


@pytest.mark.parametrize(
    ("candidates", "expansions", "widths", "squeeze"),
    [
        (7, (3, 6), (100,), (False,)),
        (13, (3, 6), (100, 50), (False,)),
        (28, (1, 3, 6), (100, 75, 50), (False,)),
        (55, (1, 3, 6), (100, 75, 50), (False, True)),
    ],
)
def test_a_layer_has_as_many_candidates_as_the_name_says(candidates, expansions, widths, squeeze):
    made = space(kernels=(3, 5, 7), expansions=expansions, widths=widths, squeeze=squeeze)
    assert {len(decision.choices) for decision in made.decisions} == {candidates}
    assert [decision.name for decision in made.decisions] == [f"layer0{i}" for i in range(4)]


def test_seventeen_imagenet_layers_are_mobilenet_v2s():
    """1801.04381 table 2, by a list that was written out from it."""
    rows = [(16, 1, 1), (24, 2, 2), (32, 2, 3), (64, 2, 4), (96, 1, 3), (160, 2, 3), (320, 1, 1)]
    expected = [(c, s if i == 0 else 1) for c, s, n in rows for i in range(n)]
    assert stages(Layout(channels=16, layers=17, stem="imagenet")) == expected


def test_mobilenet_v2_itself_is_in_the_space_with_torchvisions_size():
    from torchvision.models import mobilenet_v2

    made = space(kernels=(3,), expansions=(1, 6), channels=16, layers=17, stem="imagenet")
    chosen = Genotype(made.name, dict.fromkeys(made.rows, "k3e6") | {"layer00": "k3e1"})
    with torch.device("meta"):
        ours = count(made.network(chosen, inputs=3, outputs=1000), 3, 224)
        theirs = count(mobilenet_v2(), 3, 224)
    assert ours == theirs
    assert ours.params == 3_504_872


@pytest.mark.parametrize(
    ("words", "has"),
    [
        (["space=mobile"], False),
        (["space=mobile_13"], False),
        (["space=mobile_28"], True),
        (["space=mobile_55"], True),
        (["space=mobile", "space.expansions=[1,3,6]"], True),
    ],
)
def test_the_page_says_which_options_have_mobilenet_v2(words, has):
    config = compose([*words, "depth=17", "space.stem=imagenet"]).config
    made = build(resolve(config["space"]), "space")
    text = " ".join(["k3e1"] + ["k3e6"] * 16)
    if has:
        assert made.render(made.check(made.parse(text))) == text
    else:
        with pytest.raises(ValueError, match="layer00=k3e1; this space allows"):
            made.check(made.parse(text))


@pytest.mark.parametrize("layers", range(3, 12))
def test_layers_are_shared_out_and_every_stage_begins_once(layers):
    found = stages(Layout(channels=4, layers=layers))
    assert len(found) == layers
    assert [width for width, _ in found] == sorted(width for width, _ in found)
    assert [stride for _, stride in found].count(2) == 2
    counts = [sum(width == w for width, _ in found) for w in (4, 8, 16)]
    assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kernels": (4,)}, "kernels="),
        ({"widths": (150,)}, "widths="),
        ({"expansions": ()}, "expansions="),
        ({"expansions": (0,)}, "expansions="),
        ({"squeeze": ()}, r"squeeze=\[\]: use false, true or both"),
        ({"squeeze": (False, False)}, r"squeeze=\[false, false\]: use false, true or both"),
        (
            {"choices": {"layer00": ()}},
            r"layer00 has the choices \[\]: give one or more, each once",
        ),
        ({"layers": 2}, "layers=2"),
        ({"stem": "imagenet"}, "layers=4"),
        ({"choices": {"layer09": ("skip_connect",)}}, "layer09"),
        ({"choices": {"layer00": ("conv",)}}, "conv is not a block"),
        *(
            ({"choices": {"layer00": (name,)}}, f"{name} is not a block; use an odd kernel")
            for name in ("k4e3", "k3e0", "k3e6w0", "k3e6w150")
        ),
    ],
)
def test_what_cannot_be_built_is_refused_by_its_key(change, said):
    with pytest.raises(ValueError, match=said):
        space(**change)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"layers": 6}, "layers=4"),
        ({"auxiliary": True}, "auxiliary=false"),
        ({"partial": 2}, "partial=1"),
    ],
)
def test_a_layout_that_the_network_cannot_have_is_refused(change, said):
    layout = replace(Layout(channels=4, layers=4), **change)
    made = space()
    with pytest.raises(ValueError, match=f"; use {said}$"):
        made.network(made.sample(), inputs=1, outputs=3, layout=layout)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([8, 9]))
def test_the_discretised_network_equals_the_one_hot_supernet(seed, side):
    torch.manual_seed(seed)
    made = space()
    supernet = made.network(inputs=2, outputs=3)
    genotype = made.sample()
    alone = made.network(genotype, inputs=2, outputs=3)
    kept = supernet.state_dict()
    alone.load_state_dict({name: kept[name] for name in alone.state_dict()})
    images = torch.rand(3, 2, side, side)
    with batch_statistics(supernet), batch_statistics(alone):
        mixed = supernet(images, made.one_hot(genotype))[0]
        assert torch.allclose(mixed, alone(images)[0], atol=1e-5)


def test_every_weight_gets_the_gradient_of_its_own_candidate_only():
    torch.manual_seed(0)
    made = space(skip=False)
    supernet = made.network(inputs=1, outputs=2)
    genotype = made.sample()
    logits = supernet(torch.rand(2, 1, 8, 8), made.one_hot(genotype))[0]
    logits.square().sum().backward()
    for name, parameter in supernet.named_parameters():
        if "candidates" in name:
            _, layer, _, choice, *_ = name.split(".")
            ran = genotype[f"layer{int(layer):02d}"] == choice
            assert (parameter.grad is not None) == ran, name


def test_a_skip_is_the_identity_where_the_shape_stays_and_a_projection_where_it_changes():
    made = space(choices={f"layer0{i}": ("skip_connect",) for i in range(4)})
    network = made.network(made.sample(), inputs=1, outputs=2).eval()
    kinds = [len(layer.candidates) for layer in network.layers]
    assert [layer.shortcut for layer in network.layers] == [kind == 0 for kind in kinds]
    assert kinds == [0, 0, 1, 1]
    x = torch.rand(2, 4, 6, 6)
    assert torch.equal(network.layers[0]((x,), None, 0.0), x)


def test_what_is_skipped_does_not_count_as_an_operation_with_weights():
    made = space()
    for text, size in (("k3e1 k5e3w50se skip_connect k3e3w50", 3), (" ".join([SKIP] * 4), 0)):
        assert made.size(made.parse(text)) == (size,)


def test_a_masked_layer_gives_zero_and_a_half_masked_one_what_is_left():
    torch.manual_seed(0)
    made = space()
    network = made.network(inputs=1, outputs=2)
    x, weights = torch.rand(2, 4, 6, 6), torch.full((4, made.width), 0.25)
    skip = made.decisions[0].choices.index("skip_connect")
    only = Mixture(weights, ((skip,), (), (), ()))
    assert torch.allclose(network.layers[0]((x,), only, 0.0), 0.25 * x)
    assert torch.equal(network.layers[1]((x,), only, 0.0), torch.zeros_like(x))
    assert network.layers[2]((x,), only, 0.0).shape == (2, 8, 3, 3)


def test_what_is_added_besides_reaches_every_number_of_a_layer():
    torch.manual_seed(0)
    made = space()
    network = made.network(inputs=1, outputs=2)
    x, weights = torch.rand(2, 4, 6, 6), torch.full((4, made.width), 0.25)
    rest = torch.arange(4.0, requires_grad=True)
    for row in (1, 2):  # with a shortcut and without
        plain = network.layers[row]((x,), Mixture(weights, ((0,),) * 4), 0.0)
        found = network.layers[row]((x,), Mixture(weights, ((0,),) * 4, rest), 0.0)
        assert torch.allclose(found, plain + row)
        (gradient,) = torch.autograd.grad(found.sum(), rest)
        assert gradient.tolist() == [found.numel() if i == row else 0 for i in range(4)]


def test_drop_path_keeps_the_shortcut():
    torch.manual_seed(0)
    made = space(choices={f"layer0{i}": ("k3e3",) for i in range(4)})
    network = made.network(made.sample(), inputs=1, outputs=2).train()
    x = torch.rand(64, 4, 6, 6)
    y = network.layers[0]((x,), None, 0.5)
    dropped = (y == x).flatten(1).all(1)
    assert 10 < int(dropped.sum()) < 54


def test_the_cost_of_a_network_is_the_sum_of_its_layers():
    """So that budgets can be met by adding the costs of choices."""
    made = space()

    def params(genotype):
        with torch.device("meta"):
            return count(made.network(genotype, inputs=1, outputs=2), 1, 8)

    first, second = (made.sample(torch.Generator().manual_seed(seed)) for seed in (1, 2))
    mixed = Genotype(made.name, {**first, "layer01": second["layer01"]})
    rest = Genotype(made.name, {**second, "layer01": first["layer01"]})
    for key in ("params", "macs"):
        one, two, three, four = (getattr(params(g), key) for g in (first, second, mixed, rest))
        assert one + two == three + four


def test_a_genotype_is_written_as_its_blocks():
    made = space()
    text = "k3e1 k5e3w50se skip_connect k3e3w50"
    genotype = made.parse(text)
    assert genotype["layer01"] == "k5e3w50se"
    assert made.render(genotype) == text
    assert made.cells(genotype)["layers"][1] == ("layer00", "layer01", "k5e3w50se")
    with pytest.raises(Misfit, match=r"layers=2, .* set space.layers=2") as error:
        made.parse("k3e1 skip_connect")
    assert error.value.settings == {"layers": 2}
    for wrong in (
        "k3e1 k9e9 skip_connect skip_connect",
        "none none none none none",
    ):
        with pytest.raises(ValueError, match="genotype"):
            made.parse(wrong)


def test_no_other_block_is_suggested_for_one_that_the_space_does_not_have():
    with pytest.raises(ValueError, match=r"allows k3e1, .*; choose one of them, or .* k3e9$"):
        space().parse("k3e9 k3e1 k3e1 k3e1")


def test_a_subspace_narrows_a_layer():
    made = space().restrict({"layer01": ("skip_connect", "k3e3")})
    assert made.decisions[1].choices == ("skip_connect", "k3e3")
    network = made.network(inputs=1, outputs=2)
    assert set(network.layers[1].candidates) == {"k3e3"}
    assert made.restrict({"layer02": ("skip_connect",)}).decisions[1].choices == (
        "skip_connect",
        "k3e3",
    )


def test_alphas_of_its_supernet_are_read_by_both_rules():
    torch.manual_seed(0)
    made = space()
    network = made.network(inputs=1, outputs=2)
    supernet = Supernet(made, network, Softmax(), alpha_mean=0.0, alpha_std=1.0)
    assert supernet.genotype(argmax) == supernet.genotype(magnitude)
    assert supernet(torch.rand(2, 1, 8, 8))[0].shape == (2, 2)


def test_partial_channels_are_refused_by_the_key_that_is_typed(nasrun, small):
    words = [word for word in small if not word.startswith("space.")]
    refusal = nasrun("search", "strategy=pcdarts", "space=mobile", *words).refusal
    assert refusal.startswith("nasrun: strategy.partial_channels=2: ")
    assert refusal.endswith("; use 1")

"""The space of networks that grow: what a genotype may be, and the network that it becomes."""

import json

import pytest
import torch

from nasrun.costs.cost import count
from nasrun.genotype import Genotype, Misfit
from nasrun.pictures.graph import Graph
from nasrun.spaces.layout import Layout
from nasrun.spaces.morph import MorphSpace
from nasrun.spaces.morph_layers import Chain, ChainLayer, Skip

START = ("conv3_w1", "pool", "conv3_w1", "pool", "conv3_w1")


def space(**changes):
    settings = {
        "channels": 4,
        "start": START,
        "kernels": (1, 3, 5),
        "skips": ("add", "concat"),
        "deepest": 20,
        "widest": 8,
        "largest": 10**6,
    }
    return MorphSpace(**{**settings, **changes})


WRITTEN = "layers conv3_w1 pool conv5_w2 conv1_w2 dense_w3; skips 1-4=add 1-5=add 3-4=concat"


def test_a_search_begins_with_three_convolutions_of_the_papers_width():
    """1806.10282 sec. 5: three layers, width 64; the parameters by hand."""
    made = space(channels=64)
    (start,) = made.starts()
    cost = count(made.network(start, inputs=3, outputs=10), 3, 32)
    weights = 9 * (3 * 64 + 2 * 64 * 64)
    assert cost.params == weights + 3 * 2 * 64 + 64 * 10 + 10
    pixels = 9 * 64 * (3 * 32**2 + 64 * 16**2 + 64 * 8**2)
    assert cost.macs == pixels + 64 * 10


def test_a_network_computes_what_its_genotype_says():
    """By torch's functions, from the tensors by their names."""
    f = torch.nn.functional
    made = space()
    torch.manual_seed(0)
    genotype = made.parse(WRITTEN.replace("1-5=add", "1-5=concat"))
    network = made.network(genotype, inputs=3, outputs=2).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    own = network.state_dict()
    x = torch.randn(2, 3, 7, 7)

    def mapped(x, name, kernel):
        return f.conv2d(x, own[f"{name}.map.weight"], padding=kernel // 2)

    def normed(x, name):
        kept = (f"{name}.norm.{key}" for key in ("running_mean", "running_var", "weight", "bias"))
        return f.batch_norm(x, *(own[key] for key in kept))

    first = f.relu(normed(mapped(x, "layers.1", 3), "layers.1"))
    half = f.max_pool2d(first, 2, ceil_mode=True)
    third = f.relu(normed(mapped(half, "layers.3", 5), "layers.3"))
    z = normed(mapped(third, "layers.4", 1), "layers.4") + mapped(half, "layers.4.joins.1", 1)
    fourth = f.relu(mapped(torch.cat([z, third], 1), "layers.4.joins.3", 1))
    z = f.linear(fourth.mean((2, 3)), own["layers.5.map.weight"], own["layers.5.map.bias"])
    both = torch.cat([z, first.mean((2, 3))], 1)
    fifth = f.relu(both @ own["layers.5.joins.1.map.weight"].T)
    expected = fifth @ own["classifier.weight"].T + own["classifier.bias"]
    (logits,) = network(x)
    assert (logits - expected).abs().max() < 1e-5


def test_the_parameters_of_the_limit_are_those_of_the_network():
    made = space()
    for genotype in [made.parse(WRITTEN), *(made.sample(seeded(seed)) for seed in range(5))]:
        chain = Chain.of(genotype)
        network = made.network(genotype, inputs=3, outputs=2)
        own = sum(p.numel() for p in network.parameters())
        own -= sum(p.numel() for p in network.classifier.parameters())
        assert chain.parameters(made.channels, 3) == own


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_a_genotype_is_read_back_whatever_the_order_of_its_entries(tmp_path):
    made = space()
    genotype = made.parse(WRITTEN)
    assert made.render(genotype) == WRITTEN
    assert genotype["skip3-4"] == "concat"
    assert Chain.of(genotype).skips[0] == Skip(1, 4, "add")
    assert Chain.of(genotype).layer(3) == ChainLayer("conv", 2, 5)
    turned = Genotype("morph", dict(reversed(list(genotype.items()))))
    assert turned == genotype == Chain.of(turned).genotype()
    (tmp_path / "genotype.json").write_text(json.dumps(genotype.to_json()))
    assert Genotype.read(tmp_path / "genotype.json") == genotype


def test_a_drawing_has_an_edge_per_layer_and_per_skip_connection():
    edges = space().cells(space().parse(WRITTEN))["network"]
    assert ("images", "layer1", "conv3_w1") in edges
    assert ("layer3", "layer4", "conv1_w2") in edges
    assert ("layer3", "layer4", "concat") in edges
    graph = Graph.of(edges)
    assert graph.inputs == ("images",)
    assert graph.columns["layer5"] == 5


def test_what_is_no_network_of_the_space_is_refused_with_its_place():
    made = space()
    for written, named in (
        ("layers pool conv3_w1", "the first layer is not a convolution"),
        ("layers conv3_w1 dense_w1 pool", "layer2 is dense"),
        ("layers conv3_w1 conv4_w1", "layer2=conv4_w1"),
        ("layers conv3_w1 conv3_w0", "layer2=conv3_w0"),
        ("layers conv3_w1 conv3_w1; skips 2-1=add", "skip2-1"),
        ("layers conv3_w1 conv3_w1; skips 1-3=add", "skip1-3"),
        ("layers conv3_w1 conv3_w1; skips 1-2=sum", "skip1-2=sum"),
        ("layers conv3_w1 pool conv3_w1; skips 2-3=add", "layer2 is a pool"),
        ("layers conv3_w1 conv3_w1; skips 1=add", "skip1"),
        ("layers conv3_w1 conv3_w1; skips 1-2=add 1-2=concat", "skip1-2 twice; give it once"),
        ("layers", "convolution"),
        ("conv3_w1", "expected layers"),
        ("", "expected layers"),
    ):
        with pytest.raises(ValueError, match=named) as refused:
            made.parse(written)
        assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match="no layer2"):
        made.check(Genotype("morph", {"layer1": "conv3_w1", "layer3": "conv3_w1"}))
    with pytest.raises(ValueError, match="normal/2-0"):
        made.check(Genotype("darts", {"normal/2-0": "skip_connect"}))


def test_a_network_beyond_a_limit_is_refused_with_the_setting_that_allows_it():
    written = "layers conv3_w1 conv5_w4"
    for key, allowed, needed in (
        ("deepest", 1, 2),
        ("widest", 3, 4),
        ("kernels", (3,), [3, 5]),
        ("largest", 1000, 9 * 3 * 4 + 8 + 25 * 4 * 16 + 32),
    ):
        with pytest.raises(
            Misfit, match=rf"space allows {key}=.*; set space\.{key}=\S+$"
        ) as refused:
            space(start=("conv3_w1",), **{key: allowed}).parse(written)
        assert refused.value.settings == {key: needed}
        space(start=("conv3_w1",), **refused.value.settings).parse(written)


def test_a_setting_that_allows_no_network_is_refused():
    for changes, named in (
        ({"kernels": ()}, "kernels="),
        ({"kernels": (2,)}, "kernels="),
        ({"kernels": (3, 101)}, "kernels=.*odd numbers of 1 to 99"),
        ({"kernels": (3, 3)}, "kernels=.*different"),
        ({"skips": ("sum",)}, r"skips=\['sum'\]: use some of add, concat"),
        ({"skips": ("add", "add")}, "skips=.*each once"),
        ({"deepest": 0}, "deepest=0"),
        ({"start": ()}, "start: "),
        ({"start": ("pool",)}, "start: "),
        ({"start": ("conv3",)}, "start: "),
        ({"deepest": 4}, "start: "),
        ({"channels": 3}, "channels=3"),
    ):
        with pytest.raises(ValueError, match=named):
            space(**changes)


def test_a_layout_has_no_depth_and_no_head_for_a_genotype_that_has_its_own():
    made = space()
    (start,) = made.starts()
    for changes, named in (({"layers": 6}, "layers=6"), ({"auxiliary": True}, "auxiliary=true")):
        layout = Layout(**{"channels": 4, "layers": None, **changes})
        with pytest.raises(ValueError, match=named):
            made.network(start, inputs=1, outputs=2, layout=layout)
    with pytest.raises(ValueError, match="layers=null"):
        _ = Layout(channels=4, layers=None).depth


def test_a_stem_divides_the_side_by_two_or_eight():
    (start,) = space().starts()
    sides = {}
    for stem in ("cifar", "cifar_half", "imagenet"):
        layout = Layout(channels=4, layers=None, stem=stem)
        network = space().network(start, inputs=1, outputs=2, layout=layout)
        network.layers["2"].register_forward_hook(
            lambda module, given, answer, stem=stem: sides.update({stem: given[0].shape[-1]})
        )
        network(torch.zeros(2, 1, 32, 32))
    assert sides == {"cifar": 32, "cifar_half": 16, "imagenet": 4}


def test_drop_path_drops_what_a_skip_connection_adds_and_only_in_training():
    made = space()
    genotype = made.parse("layers conv3_w1 conv3_w1; skips 1-2=add")
    network = made.network(genotype, inputs=1, outputs=2)
    without = made.network(made.parse("layers conv3_w1 conv3_w1"), inputs=1, outputs=2)
    own = network.state_dict()
    without.load_state_dict({name: own[name] for name in without.state_dict()})
    x = torch.randn(4, 1, 5, 5)
    network.drop_path = 1 - 1e-9
    assert torch.equal(network(x)[0], without(x)[0])
    network.eval(), without.eval()
    assert not torch.equal(network(x)[0], without(x)[0])


def test_weights_beyond_the_machine_are_refused_by_the_keys_that_there_are(nasrun, here):
    words = ["genotype=random", "space=morph", "images=64"]
    # the width decides which networks belong to the space, whatever the recipe's is
    refusal = nasrun("retrain", *words, "width=16", "retrain.channels=60000").refusal
    assert "retrain.channels=60000: the weights alone take" in refusal
    assert (
        "use layers=null, or the recipe morph" in nasrun("retrain", *words, "retrain=quick").refusal
    )
    assert list(here.iterdir()) == []


def test_a_network_is_planned_retrained_loaded_exported_and_shown_like_any_other(nasrun, here):
    import nasrun as package

    (here / "net.txt").write_text(WRITTEN.replace("w3", "w1"))
    words = ["genotype=net.txt", "space=morph", "epochs=1", "images=64", "budget.threads=1"]
    words += ["retrain.channels=4", "progress=false"]
    planned = nasrun("plan", "retrain", *words)
    assert planned.status == 0, planned.err
    ended = nasrun("retrain", *words)
    assert ended.status == 0, ended.err
    (run,) = (here / "outputs").glob("*/v001")
    result = json.loads((run / "retrain/net/result.json").read_text())
    assert f"{result['params'] / 1e6:.3f} M" in planned.out
    assert nasrun("export", run, "format=onnx").status == 0
    loaded = package.load(run)
    assert sum(p.numel() for p in loaded.network.parameters()) == result["params"]
    assert loaded(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    shown = nasrun("show", "genotype=net.txt", "format=json")
    assert shown.status == 0, shown.err
    record = json.loads(shown.out)
    assert record["space"] == "morph"
    assert record["network"]["channels"] == 64

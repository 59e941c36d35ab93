"""Rules for every space, dataset, recipe, transfer and experiment."""

import re

import pytest
import torch
from omegaconf import OmegaConf

from nasrun.budget import Budget
from nasrun.config import build, conf_folder, resolve
from nasrun.data.environments import Environment
from nasrun.genotype import NONE, Genotype
from nasrun.spaces.decision import DecisionSpace
from nasrun.spaces.inheritance import InheritingSpace
from nasrun.spaces.layout import Layout
from nasrun.spaces.supernet import SupernetSpace
from nasrun.trained import Trained

CPU = Budget(device="cpu", precision="auto", threads=1, max_hours=None)


@pytest.fixture
def built(bench):
    """Return the object of an option, with a tiny width."""

    def make(group, option, *overrides):
        node = bench.node(group, option, "width=2", "depth=3", *overrides)
        return build(node, group, bench.trusted)

    return make


def passes(genotype, name):
    """Whether it is a discriminator's c5 or c6 that passes on what enters, absent or not."""
    block, _, key = name.rpartition("/")
    before = {"c5": ("c1", "c3"), "c6": ("c2", "c4")}.get(key, ())
    return any(genotype[f"{block}/{each}"] != NONE for each in before)


def test_a_space_draws_legal_genotypes_and_reads_back_what_it_writes(built, space):
    made = built("space", space)
    drawn = [made.sample(torch.Generator().manual_seed(seed)) for seed in range(20)]
    assert len(set(drawn)) > 10
    for genotype in drawn:
        assert made.check(genotype) == genotype
        for limit in made.limits if isinstance(made, DecisionSpace) else ():
            kept = [name for name in limit.decisions if genotype[name] != NONE]
            assert len(kept) == limit.count or (made.none_is_a_choice and len(kept) < limit.count)
        assert made.parse(made.render(genotype)) == genotype
        assert Genotype.from_json(genotype.to_json()) == genotype
        assert "\n" not in made.render(genotype)
        # the operation of a vertex is drawn in it, not on an edge
        shown = [
            n
            for n, choice in genotype.items()
            if (choice != NONE or passes(genotype, n)) and not n.startswith("vertex")
        ]
        assert sum(map(len, made.cells(genotype).values())) == len(shown)


def test_a_space_builds_a_supernet_and_a_network_that_answer_images(built, space):
    made = built("space", space)
    genotype = made.sample(torch.Generator().manual_seed(0))
    if not isinstance(made, SupernetSpace):
        network = made.network(genotype, inputs=3, outputs=3)
        again = made.network(genotype, inputs=3, outputs=3)
        network.load_state_dict(again.state_dict(), strict=True)
        return
    images = torch.rand(2, 1, 8, 8)
    supernet = made.network(inputs=1, outputs=3)
    assert supernet(images, made.one_hot(genotype))[0].shape == (2, 3)
    layout = Layout(channels=2, layers=3)
    (logits,) = made.network(genotype, inputs=1, outputs=3, layout=layout)(images)
    assert logits.shape == (2, 3)
    assert logits.isfinite().all()


def test_a_network_takes_decisions_with_their_weights_from_another_one(built, space):
    made = built("space", space)
    if not isinstance(made, InheritingSpace):
        return
    sizes = {"inputs": 3, "outputs": 3}
    genotypes = [made.sample(torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    trained = [Trained(made.network(g, **sizes).state_dict()) for g in genotypes]
    donated = [name for names in made.tied[::2] for name in names]
    child = genotypes[0].changed({name: genotypes[1][name] for name in donated})
    network = made.network(child, **sizes)
    left = made.inherit(*trained, network.state_dict(), donated, lam=1.0, gam=0.0)
    network.load_state_dict(left.network, strict=True)
    theirs = made.prefixes(donated)
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, trained[name.startswith(theirs)].network[name]), name


def test_a_restricted_space_has_only_the_choices_that_are_left(built, space):
    made = built("space", space)
    if not isinstance(made, DecisionSpace):
        return
    decision = made.decisions[0]
    one = next(choice for choice in decision.choices if choice != NONE)
    narrow = made.restrict({decision.name: (one,)})
    assert narrow.decisions[0].choices == (one,)
    assert narrow.decisions[1:] == made.decisions[1:]


def test_a_dataset_is_embedded_or_says_which_key_would_find_it(
    built, bench, dataset, tmp_path, monkeypatch
):
    monkeypatch.setenv("NASRUN_CACHE", str(tmp_path / "cache"))
    overrides = ["images=64"]
    settings = raw(bench.compose(f"dataset={dataset}").config.dataset)
    if "root" in settings:
        overrides.append(f"dataset.root={tmp_path / 'missing'}")
    made = built("dataset", dataset, *overrides)
    if isinstance(made, Environment):
        check_environment(made, monkeypatch)
        return
    if "root" in settings:
        with pytest.raises(ValueError, match=r"^dataset\.root=\S*missing") as refused:
            made.check()
        assert "\n" not in str(refused.value)
        assert "name one" in str(refused.value) or "download" in str(refused.value)
        assert not (tmp_path / "missing").exists()
        return
    made.check()
    facts, device = made.facts(), torch.device("cpu")
    train, validation = (made.split(part, device=device) for part in ("train", "validation"))
    assert len(train) + len(validation) == 64
    assert set(train.labels.tolist()) == set(range(facts.num_classes))
    images, labels = next(iter(train.batches(8)))
    assert images.shape == (8, facts.channels, facts.size, facts.size)
    assert labels.tolist() == train.labels[:8].tolist()


def check_environment(made, monkeypatch):
    pytest.importorskip("mujoco")
    if made.pixels:
        for name in ("MUJOCO_GL", "DISPLAY"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(ValueError, match=r"^MUJOCO_GL is not set .* MUJOCO_GL=egl"):
            made.check()
        return
    made.check()
    shape, actions = made.shapes()
    episodes = made.start()
    first, again = episodes.reset(3), episodes.reset(3)
    assert first.shape == shape
    assert (first == again).all()
    step = episodes.step(torch.zeros(actions).numpy())
    assert step.observation.shape == shape
    assert step.observation.dtype == first.dtype


def test_a_key_without_a_default_is_asked_for(bench, dataset):
    settings = bench.compose(f"dataset={dataset}").config.dataset
    if raw(settings).get("root") != "???":
        assert resolve(settings)["_target_"]
        return
    with pytest.raises(ValueError, match=r"^dataset\.root: has no default"):
        resolve(settings)


def raw(node):
    """Return the settings as written in the YAML, including keys without a default."""
    return OmegaConf.to_container(node, resolve=False)


SEARCH = ("rounds=", "batch_size=", "width=", "depth=")
"""Words that are only of a search."""


def words(group):
    return [f"{group}.{word}" for word in ("epochs=2", "channels=2", "layers=3", "batch_size=24")]


@pytest.fixture
def cell(bench, small):
    """Overrides of training a random genotype for two epochs of two rounds."""

    def made(group, option, *overrides):
        rounds = f"{group}.rounds_per_epoch=2"
        given = [word for word in small if not word.startswith(SEARCH)]
        return ["genotype=random", f"{group}={option}", *words(group), rounds, *given, *overrides]

    return made


def check_training(bench, kind, overrides):
    whole = bench.run(kind, *overrides)
    (metrics,) = whole.path.glob(f"{kind}/random*/metrics.jsonl")
    place, bench.outputs = bench.outputs, bench.outputs / "parts"
    parts = bench.interrupted(kind, lambda: bench.run(kind, *overrides), 4)
    bench.outputs = place
    assert parts.path != whole.path
    for name in ("metrics.jsonl", "weights.safetensors"):
        file = metrics.with_name(name)
        assert (parts.path / file.relative_to(whole.path)).read_bytes() == file.read_bytes()
    assert len(metrics.read_text().splitlines()) == 4
    (stage,) = whole.stages()
    assert {"test_accuracy", "params", "macs", "seconds"} <= set(stage.result)


def test_a_recipe_interrupted_trains_the_same_network(bench, retrain, cell):
    overrides = cell("retrain", retrain)
    if bench.node("retrain", retrain)["stem"] == "imagenet":
        overrides.append("dataset.size=16")
    check_training(bench, "retrain", overrides)


def test_a_transfer_interrupted_trains_the_same_network(bench, transfer, cell, paint_folder):
    overrides = cell("transfer", transfer, "transfer.dataset.size=16")
    settings = raw(bench.compose(f"transfer={transfer}").config.transfer)["dataset"]
    if "root" in settings:
        overrides.append(f"transfer.dataset.root={paint_folder}")
    if "resize" in settings:
        overrides += ["transfer.dataset.resize=18", "transfer.dataset.workers=0"]
    check_training(bench, "transfer", overrides)


@pytest.fixture
def paint_folder(tmp_path):
    """Make three classes of small pictures, 48 in all."""
    import numpy
    from PIL import Image

    generator = numpy.random.default_rng(0)
    for position in range(48):
        path = tmp_path / "pictures" / f"class{position % 3}" / f"{position}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        noise = generator.integers(0, 256, (18, 18, 3)).astype(numpy.uint8)
        Image.fromarray(noise).save(path)
    return tmp_path / "pictures"


def test_an_experiment_composes_by_the_command_that_it_says(bench, experiment):
    text = next(
        path.read_text()
        for folder in (conf_folder(), *bench.folders)
        for path in folder.glob(f"experiment/{experiment}.yaml")
    )
    head = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    command = re.search(r"nasrun (run|search|select|retrain|transfer)((?: \S+=\S+)+)", head)
    assert command, head
    words = command[2].split()
    assert f"experiment={experiment}" in words
    composed = bench.compose(*words)
    assert composed.config != bench.compose().config
    stages = composed.config.stages if command[1] == "run" else [command[1]]
    read = {key: value for key, value in raw(composed.config).items() if key != "transfer"}
    if "transfer" in stages:
        read["transfer"] = raw(composed.config.transfer)
    assert "???" not in str(read), "the command lacks what has no default"


def test_an_experiment_builds_with_every_key_known(bench, experiment, tmp_path):
    """Building finds stale keys of a merge, and keys that a group does not have."""
    config = bench.compose(f"experiment={experiment}").config
    for key in ("dataset", "transfer.dataset"):
        if "root" in raw(OmegaConf.select(config, key)):
            OmegaConf.update(config, f"{key}.root", str(tmp_path))
    for key in ("task", "task.distance"):
        if raw(OmegaConf.select(config, key, default=OmegaConf.create())).get("weights") == "???":
            OmegaConf.update(config, f"{key}.weights", str(tmp_path))
    for group in ("space", "strategy", "selector", "task", "budget", "retrain", "dataset"):
        build(resolve(config[group]), group, bench.trusted)
    node = resolve(config["transfer"])
    build(node.pop("dataset"), "transfer.dataset", bench.trusted)
    build(node, "transfer", bench.trusted)

"""Auto-Keras against its rivals: the searches, equal seconds, and the table."""

import json

import pytest

from nasrun import config


@pytest.fixture
def morphs(script):
    return script("morph_claims")


def test_arms_differ_in_how_networks_grow_and_in_nothing_else(morphs):
    nodes = {}
    for arm in morphs.ARMS:
        composed = config.compose(morphs.search(arm, 0, 60)[1:])
        nodes[arm] = config.resolve(composed.config["strategy"])
        tasks = config.resolve(composed.config["task"])
        assert tasks == nodes.setdefault("task", tasks)
    nodes.pop("task")
    scratch = nodes["autokeras_scratch"]
    assert scratch == {**nodes["autokeras"], "inherit": False}
    targets = [node.pop("growth")["_target_"].rpartition(".")[2] for node in nodes.values()]
    assert targets == ["TreeSearch", "RandomGrowth", "BreadthFirst", "TreeSearch"]
    inherits = [node.pop("inherit") for node in nodes.values()]
    assert inherits == [True, True, True, False]
    assert all(node == nodes["autokeras"] for node in nodes.values())
    assert nodes["autokeras"]["seconds"] == 60


def test_a_curve_has_the_best_accuracy_so_far_over_the_seconds(morphs):
    tree = [
        {"seconds": [1.0, 2.0], "scores": [0.5, 0.4]},
        {"seconds": [3.0], "scores": [None]},
        {"seconds": [1.5], "scores": [0.7]},
    ]
    assert morphs.curve(tree) == [(1.0, 0.5), (3.0, 0.5), (6.0, 0.5), (7.5, 0.7)]


def test_a_table_compares_what_is_paired_and_the_picture_is_drawn(morphs, tmp_path, capsys):
    kept = tmp_path / "found.jsonl"
    for arm, seed, accuracy in (
        ("autokeras", 0, 0.9),
        ("autokeras", 1, 0.8),
        ("autokeras_random", 0, 0.85),
        ("autokeras_random", 1, 0.7),
        ("autokeras_breadth", 7, 0.5),
    ):
        curve = [[1.0, accuracy / 2], [2.0 + seed, accuracy]]
        about = {"arm": arm, "seed": seed, "trials": 9, "params": 12_000, "curve": curve}
        scores = {"validation_accuracy": accuracy - 0.1, "test_accuracy": accuracy}
        morphs.append(kept, {**about, **scores})
    kept.write_text(kept.read_text() + '{"arm": "auto')  # a line that was cut off
    found = morphs.read(kept)
    morphs.tell(found)
    told = capsys.readouterr().out
    row = "| autokeras | 2 | 25.00 ± 7.07 | 2 | 15.00 ± 7.07 | 11.44 | 9, 9 | 12, 12 |"
    assert row in told
    assert "| autokeras_scratch | 0 | - | 0 | - | 12.90 |  |  |" in told
    assert "| autokeras_random - autokeras | 2 | 7.50 ± 3.54 |" in told  # 5 and 10
    morphs.draw(found, tmp_path / "error.png")
    assert (tmp_path / "error.png").stat().st_size > 1000
    assert json.loads(kept.read_text().splitlines()[0])["seed"] == 0

"""EN2AS against uniform paths: the searches, a sample that is scored, and the table."""

import json

import pytest

from nasrun import config
from nasrun.data.table import Table

CHAIN = "|nor_conv_3x3~0|+|none~0|nor_conv_3x3~1|+|none~0|none~1|{}~2|"
CELLS = [CHAIN.format(last) for last in ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3")]


@pytest.fixture
def novelty(script):
    return script("novelty_claims")


def test_searches_differ_in_their_sampler_alone(novelty):
    nodes = {}
    for sampler in novelty.SAMPLERS:
        composed = config.compose(novelty.command(sampler, 0)[1:])
        assert composed.choices["strategy"] == "en2as"
        nodes[sampler] = config.resolve(composed.config["strategy"])
    targets = [node["evaluator"].pop("sampler")["_target_"] for node in nodes.values()]
    assert [target.rpartition(".")[2] for target in targets] == [
        *("Uniform", "Novelty", "Novelty", "MostNovel"),
    ]
    assert all(node == nodes["uniform"] for node in nodes.values())
    assert nodes["novelty"]["evaluator"]["optimizer"]["lr"] == 0.1


def test_a_table_compares_what_is_paired(novelty, tmp_path, capsys):
    csv, kept = tmp_path / "table.csv", tmp_path / "found.jsonl"
    rows = "".join(f"{n},{cell},{90 + n}\n" for n, cell in enumerate(CELLS))
    csv.write_text(f"index,architecture,{novelty.TEST}\n{rows}")
    lines = []
    for sampler, seed, order, chosen in (
        ("novelty", 0, (1, 2, 3, 4), 3),
        ("novelty", 1, (1, 2, 4, 3), 2),
        ("uniform", 0, (4, 3, 2, 1), 1),
        ("uniform", 1, (1, 2, 3, 4), 1),
        ("moving", 5, (1, 2, 3, 4), 0),
    ):
        scores = dict(zip(CELLS, order, strict=True))
        about = {"sampler": sampler, "seed": seed, "changed_genes": seed, "seconds": 9.0}
        lines.append(json.dumps({**about, "scores": scores, "chosen": CELLS[chosen]}))
    for line in lines:
        novelty.append(kept, json.loads(line))
    kept.write_text(kept.read_text() + '{"sampler": "nov')  # a line that was cut off
    novelty.tell(novelty.read(kept), Table.read(csv))
    told = capsys.readouterr().out
    assert "| novelty | 2 | 83.33 ± 23.57 | 2 | 92.50 ± 0.71 | 0, 1 | 9, 9 |" in told
    assert "| most_novel | 0 | - | 0 | - |  |  |" in told
    assert "| novelty - uniform | 2 | 83.33 ± 164.99 |" in told  # 100 - -100, 66.67 - 100
    assert "| novelty - uniform | 2 | 1.50 ± 0.71 |" in told


def test_a_line_that_was_cut_off_is_written_over(novelty, tmp_path):
    kept = tmp_path / "found.jsonl"
    for seed in range(2):
        novelty.append(kept, {"sampler": "novelty", "seed": seed})
        kept.write_text(kept.read_text() + '{"sampler": "nov')
    assert list(novelty.read(kept)) == [("novelty", 0), ("novelty", 1)]

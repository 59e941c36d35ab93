"""The data of the tables of RADARS's claims, on made-up runs and tables."""

import json
from itertools import product

import pytest

from nasrun.data.table import Table
from nasrun.spaces.nasbench201 import NasBench201

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")


@pytest.fixture
def claims(script):
    return script("radars_claims")


def test_a_subspace_has_the_cells_that_the_space_says(claims):
    kept = [("none", "nor_conv_3x3")] * 5 + [("skip_connect", "avg_pool_3x3")]
    space = NasBench201(operations=OPERATIONS, channels=2, layers=3)
    expected = {
        "|{}~0|+|{}~0|{}~1|+|{}~0|{}~1|{}~2|".format(*choices) for choices in product(*kept)
    }
    names = list(claims.architectures(kept))
    assert len(names) == 64
    assert set(names) == expected
    parsed = [space.parse(name) for name in names]
    assert {tuple(genotype[name] for name in space.rows) for genotype in parsed} == set(
        product(*kept)
    )


def finished(root, seed, kept):
    folder = root / f"seed{seed}/data/v001/search"
    folder.mkdir(parents=True)
    (folder / "result.json").write_text("{}")
    (folder / "subspaces.json").write_text(json.dumps([{"kept": kept}]))


def test_the_best_of_each_subspace_is_looked_up_and_compared_with_random_ones(
    claims, table, tmp_path, capsys
):
    """The made-up table gets better from row to row: its best cells end in average pooling."""
    rows = [f"edge{i}" for i in range(6)]
    finished(tmp_path, 0, {row: ["none", "avg_pool_3x3"] for row in rows})
    finished(tmp_path, 1, {row: ["none", "skip_connect"] for row in rows})
    claims.subspace_table(tmp_path, range(3), Table.read(table))
    out = capsys.readouterr().out
    lines = [line for line in out.splitlines() if line[:3] in ("| 0", "| 1", "| 2")]
    assert [int(line.split("|")[-2]) for line in lines] == [1, 1 + sum(3 * 5**i for i in range(6))]
    drawn = int(out.split("random ")[1].split()[0])
    assert "RADARS 1 of 2" in out
    # The top 156 are avg_pool three times, then anything, and with conv_3x3 third, offsets below
    # 31 in base 5. A pair has the last operation with 0.4, its best is the last but one with 0.3.
    below_31 = 0.4 + 0.3 * (0.4 + 0.3 * 0.4)
    assert drawn / claims.DRAWN == pytest.approx(0.4**2 * (0.4 + 0.3 * below_31), abs=0.012)
    assert "Fisher" in out


def test_the_share_of_a_search_until_an_accuracy_is_of_its_seconds(claims, tmp_path):
    folder = tmp_path / "data/v001/search"
    folder.mkdir(parents=True)
    records = [{"reward": 0.9}, {"validation_accuracy": 0.4}, {"validation_accuracy": 0.6}]
    for name, rows in (
        ("metrics.jsonl", records),
        ("timing.jsonl", [{"seconds": s} for s in (1.0, 2.0, 5.0)]),
    ):
        (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    job = claims.Job(tmp_path, "search", ())
    assert claims.share_until(job, 0.4) == 3 / 8
    assert claims.share_until(job, 0.5) == 1.0
    assert claims.share_until(job, 0.7) == float("inf")

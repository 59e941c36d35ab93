"""Measures: what they read from the files of a finished arm."""

import json
import shutil
from types import SimpleNamespace

import pytest

from nasrun.claims.finished import Finished
from nasrun.claims.measures import (
    BestOfFirst,
    EarlyRanks,
    KeptTop,
    Ranking,
    Result,
    Rounds,
    SupernetRanks,
)
from nasrun.data.table import Table
from nasrun.runs.stage_folder import StageFolder

WORDS = ["stages=[search,select]", "space=nasbench201", "strategy=random", "evaluator=tabular"]
WORDS += ["strategy.num_candidates=5", "budget.threads=1"]


def test_numbers_come_from_results_and_rounds_and_candidates(nasrun, table, here, no_pictures):
    assert nasrun("run", *WORDS, f"space.table={table}").status == 0
    (search,), (select,) = here.glob("outputs/*/v001/search"), here.glob("outputs/*/v001/select/*")
    found = Finished([search, select])
    result = json.loads((search / "result.json").read_text())
    rows = StageFolder(search, "").metrics()
    key = "best_validation_accuracy"
    seen = [row["validation_accuracy"] for row in rows]
    assert Result(text="", stage="search", key="candidates").fact(found) == 5
    assert Result(text="", stage="search", key="candidates", minus=True).fact(found) == -5
    assert Result(text="", stage="search", key="digests.none").fact(found) is None
    assert Result(text="", stage="retrain", key="candidates").fact(found) is None
    with pytest.raises(ValueError, match=r"key=digests: {.* is no number; name one"):
        Result(text="", stage="search", key="digests", minus=True).fact(found)
    assert Rounds(text="", stage="search", key=key).fact(found) == max(seen)
    mean = Rounds(text="", stage="search", key="validation_accuracy", of="mean").fact(found)
    assert mean == pytest.approx(sum(seen) / 5)
    assert Rounds(text="", stage="search", key="none").fact(found) is None
    assert Rounds(text="", stage="search", key="seconds", of="sum").fact(found) > 0
    columns = Table.read(table).columns
    first = BestOfFirst(text="", data="cifar10", count=3).fact(found)
    assert columns["cifar10_val_12ep"][first] == max(seen[:3])
    assert result["candidates"] == len(seen)
    with pytest.raises(ValueError, match="of=best: use one of last, mean, sum, max"):
        Rounds(text="", stage="search", key=key, of="best")


def test_of_several_stages_the_last_command_is_read(nasrun, table, here, no_pictures):
    assert nasrun("run", *WORDS, f"space.table={table}", "seed=7").status == 0
    (select,) = here.glob("outputs/*/v001/select/*")
    other = select.with_name("fittest-2")  # its name comes later
    shutil.copytree(select, other)
    for folders in ([select, other], [other, select]):
        assert Finished(folders).stage("select").path == folders[-1]


def test_a_kept_subspace_hits_if_it_has_one_of_the_best(tmp_path):
    operations = ("none", "conv")
    cells = [
        f"|{a}~0|+|{b}~0|none~1|+|none~0|none~1|none~2|" for a in operations for b in operations
    ]
    column = dict(zip(cells, (0.1, 0.2, 0.3, 0.4), strict=True))
    table = Table(tmp_path / "t.csv", {"cifar10_test_200ep": column})
    measure = KeptTop(text="", data="cifar10", share=0.25, draws=200)
    rest = [["none"]] * 4
    for kept, hit in (([["conv"], ["none", "conv"]], 1.0), ([["none"], operations], 0.0)):
        edges = {str(edge): row for edge, row in enumerate([*kept, *rest])}
        assert measure.value(edges, table) == hit
    # two operations are one pair, so every random subspace has all cells
    assert measure.controls(table) == {"random subspaces": 1.0}
    assert measure.value(edges, None) is None


def test_a_ranking_is_read_from_the_first_row(tmp_path):
    rows = [{"score": "a", "kendall": {"value": 0.5}}, {"score": "params", "kendall": {"value": 1}}]
    (tmp_path / "ranks.json").write_text(json.dumps({"rows": rows}))
    assert Ranking(text="", key="kendall.value").fact(Finished([tmp_path])) == 0.5
    assert Ranking(text="", key="kendall.no").fact(Finished([tmp_path])) is None


def test_early_scores_of_a_population_are_ranked_beside_its_last_ones():
    rows = [
        {"score_00": 3.0, "score_01": 2.0, "score_02": None, "score_10": 1.0, "best_score": 3.0},
        {"score_00": 1.0, "score_01": 2.0, "score_02": 3.0, "score_10": 4.0, "best_score": 4.0},
        {"score_00": 9.0, "score_01": 8.0, "score_02": 5.0, "score_10": 7.0, "best_score": 9.0},
    ]
    search = SimpleNamespace(path="search", metrics=lambda: rows)
    found = SimpleNamespace(stage={"search": search}.get)
    assert EarlyRanks(text="", round=1).fact(found) == pytest.approx(1.0)
    # ranks 1, 2, 3, 4 and 4, 3, 1, 2: 1 - 6 * (9 + 1 + 4 + 4) / (4 * 15)
    assert EarlyRanks(text="", round=2).fact(found) == pytest.approx(1 - 6 * 18 / 60)
    for outside in (0, 3):
        with pytest.raises(ValueError, match=f"round={outside}: use 1 to 2, before the last one"):
            EarlyRanks(text="", round=outside).fact(found)
    rows[1]["children"] = 2.0
    assert EarlyRanks(text="", round=1).fact(found) is None
    rows[:] = [{"loss": 1.0}] * 2
    with pytest.raises(ValueError, match="has no scores of members; use another measure"):
        EarlyRanks(text="", round=1).fact(found)
    assert EarlyRanks(text="", round=1).fact(SimpleNamespace(stage={}.get)) is None


def test_a_sample_is_at_most_the_whole_space_and_only_radars_keeps_a_subspace(
    nasrun, here, no_pictures
):
    words = ["search", "space=nasbench201", "strategy=random", "evaluator=inherited", "rounds=1"]
    words += ["space.operations=[none,skip_connect]", "width=2", "depth=3", "images=64"]
    words += ["batch_size=16", "strategy.num_candidates=2", "budget.threads=1", "budget.device=cpu"]
    answer = nasrun(*words)
    assert answer.status == 0, answer.err
    (search,) = here.glob("outputs/*/v001/search")
    found = Finished([search])
    cells = SupernetRanks(text="", data="cifar10", count=64, seed=0).fact(found)
    assert len(cells) == 2**6
    with pytest.raises(ValueError, match=r"count=65: 6,500 draws gave only 64 .* use at most that"):
        SupernetRanks(text="", data="cifar10", count=65, seed=0).fact(found)
    with pytest.raises(ValueError, match=r"subspaces.json: .* use a search with strategy=radars"):
        KeptTop(text="", data="cifar10", share=0.1, draws=1).fact(found)

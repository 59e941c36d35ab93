"""Contrasts of a page: which choices are compared, on which seeds, and by which numbers."""

import re
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import pytest
from scipy import stats

from nasrun.pages.charts import Look
from nasrun.pages.contrasts import MOST, Contrast, _recipe, between, with_random
from nasrun.pages.entrants import Entrant, judged_by_tables
from nasrun.runs.groups import Group, Seeded

DATA = {"_target_": "Digits", "images": 64, "root": "here"}
SCORES = {
    "A": {0: 0.91, 1: 0.93, 2: 0.90, 3: 0.95, 4: 0.94, 5: 0.97},
    "B": {1: 0.90, 2: 0.89, 3: 0.91, 4: 0.96, 5: 0.92, 6: 0.10},
    "C": {0: 0.80, 1: 0.88, 2: 0.93, 3: 0.84, 4: 0.85, 5: 0.81},
}


def entrant(name, results, source="magnitude", kind="retrain", genotype=None, config=(), own=()):
    """Runs of one configuration with the results of a stage by seed."""
    settings = {"space": {"_target_": "Cells"}, "strategy": {}, "dataset": DATA, **dict(config)}
    made = {"epochs": 2, "source": source, "genotype": name, **dict(own)}
    stage = SimpleNamespace(kind=kind, source=source, branch=source, config=made)
    members = []
    for place, (seed, result) in enumerate(results):
        record = {"seed": seed, "genotype": genotype, "choices": {"dataset": "digits"}}
        run = SimpleNamespace(path=Path(f"{name}/v{place}"), record=record, config=settings)
        members.append(Seeded(run, stage, result))
    return Entrant(f"{name} {source}", Group(name, {}, members), Look(0))


def chosen(name, scores=None, **how):
    """Choices with test accuracies by seed."""
    scores = SCORES["A"] if scores is None else scores
    return entrant(name, [(seed, {"test_accuracy": x}) for seed, x in scores.items()], **how)


def pairs(some):
    return [row[0] for row in between(some).rows]


def test_choices_are_compared_on_common_seeds_by_a_two_sided_test():
    """Interval and p are scipy's, Holm's correction is written out."""
    rows = {row[0]: row[1:] for row in between([chosen(*each) for each in SCORES.items()]).rows}
    expected, chances = {}, {}
    for one, two in combinations(SCORES, 2):
        seeds = sorted({*SCORES[one]} & {*SCORES[two]})
        a, b = ([round(100 * SCORES[name][seed], 6) for seed in seeds] for name in (one, two))
        low, high = stats.ttest_rel(a, b).confidence_interval()
        name = f"{one} magnitude minus {two} magnitude"
        mean = sum(a) / len(a) - sum(b) / len(b)
        expected[name] = [f"{mean:+.2f} points", f"{low:+.2f} to {high:+.2f} points"]
        differences = [round(x - y, 6) for x, y in zip(a, b, strict=True)]
        chances[name] = stats.wilcoxon(differences, alternative="two-sided").pvalue
    shown = {name: [x.replace("−", "-") for x in row[1:3]] for name, row in rows.items()}
    assert shown == expected
    assert [row[0] for row in rows.values()] == ["5", "6", "5"]
    corrected, least = {}, 0.0
    for place, name in enumerate(sorted(chances, key=chances.get)):
        least = max(least, min(1.0, (len(chances) - place) * chances[name]))
        corrected[name] = f"{least:.3f}"
    assert {name: row[3] for name, row in rows.items()} == corrected
    assert len({*corrected.values()}) > 1


def test_the_number_of_seeds_that_a_small_p_needs_is_the_smallest():
    """The smallest p is that of pairs which all have the same sign."""

    def least(seeds, rows):
        return rows * stats.wilcoxon(range(1, seeds + 1), alternative="two-sided").pvalue

    for seeds, names in ((5, "ABC"), (5, "AB"), (3, "ABCDE")):
        some = [chosen(x, {s: 0.1 * s for s in range(seeds)}) for x in names]
        contrasts = between(some)
        rows, note = len(contrasts.rows), contrasts.note
        smallest = f"{least(seeds, 1):.3g}"
        assert f"With {seeds} seeds, no p before the correction can be below {smallest}" in note
        enough = int(re.search(r"run at least (\d+) seeds", note)[1])
        assert least(enough, rows) <= 0.05 < least(enough - 1, rows)
        assert ("after it below" in note) == (rows > 1)
        if rows > 1:
            assert f"none after it below {min(1, least(seeds, rows)):.3g}" in note
    assert "run at least" not in between([chosen("A"), chosen("B", SCORES["A"])]).note
    assert "With 6 seeds" in between([chosen("A"), chosen("B")]).note


def test_one_seed_has_a_difference_and_no_test():
    contrasts = between([chosen("A", {0: 0.5}), chosen("B", {0: 0.4})])
    assert contrasts.rows == (("A magnitude minus B magnitude", "1", "+10.00 points", "–", "–"),)
    assert "run more" in contrasts.note and "signed-rank" not in contrasts.note


def test_a_choice_is_compared_with_nothing_if_there_is_nothing_else():
    assert between([chosen("A")]).rows == ()
    assert between([chosen("A")]).note == ""
    apart = between([chosen("A", {0: 0.5}), chosen("B", {1: 0.5})])
    assert apart.rows == () and "share no seed" in apart.note


@pytest.mark.parametrize(
    "other",
    [
        {"own": {"epochs": 3}},
        {"own": {"extend": "magnitude"}},
        {"config": {"dataset": {**DATA, "images": 32}}},
        {"config": {"contents": "0123456789ab"}},
    ],
    ids=["recipe", "extended", "images", "files"],
)
def test_choices_are_compared_only_if_recipe_and_data_agree(other):
    alike, unlike = chosen("B"), chosen("C", **other)
    contrasts = between([chosen("A"), alike, unlike])
    assert [row[0] for row in contrasts.rows] == ["A magnitude minus B magnitude"]
    assert "not compared" in contrasts.note
    assert "not compared" not in between([chosen("A"), alike]).note


def test_other_settings_of_the_search_and_another_place_of_the_data_do_not_matter():
    moved = {"dataset": {**DATA, "root": "there"}, "strategy": {"rounds": 9}}
    assert len(pairs([chosen("A"), chosen("B", config=moved)])) == 1


def test_a_training_on_own_data_does_not_depend_on_those_of_the_search():
    own = {"transfer": {"dataset": DATA}}
    searched = {"dataset": {**DATA, "images": 32}}
    several = [
        chosen("A", kind="transfer", own=own),
        chosen("B", kind="transfer", own=own, config=searched),
        chosen("C", kind="transfer", own={"transfer": {"dataset": searched["dataset"]}}),
    ]
    assert pairs(several) == ["A magnitude minus B magnitude"]


def test_what_a_search_has_trained_is_compared_if_task_and_data_agree():
    def population(name, **config):
        results = [(seed, {"test_fid": 9.0 + seed, "judged_by": "test_fid"}) for seed in range(3)]
        how = {"kind": "select", "own": {"selector": name}}
        return entrant(name, results, config=config, **how)

    task = {"_target_": "Gan"}
    some = [population("A", task=task), population("B", task=task), population("C", task={})]
    contrasts = between(some)
    assert [row[:3] for row in contrasts.rows] == [("A magnitude minus B magnitude", "3", "+0")]


def test_each_of_many_is_compared_with_the_first_one_whichever_is_the_best():
    """The best one is no reference: it would be chosen by the numbers that are compared."""
    names = "ABCDEFG"
    some = [chosen(name, {s: 0.1 * p + 0.01 * s for s in range(3)}) for p, name in enumerate(names)]
    assert len(pairs(some[:MOST])) == MOST * (MOST - 1) // 2
    contrasts = between(some)
    assert [row[0] for row in contrasts.rows] == [
        f"{name} magnitude minus A magnitude" for name in names[1:]
    ]
    assert "the first one alone" in contrasts.note
    best_first = between(some[::-1])
    assert all(row[0].endswith("minus G magnitude") for row in best_first.rows)


def test_the_random_architecture_beside_a_choice_is_no_rival_but_a_run_of_its_own_is():
    beside = chosen("A", source="random")
    alone = chosen("B", source="random", genotype="random")
    assert pairs([chosen("A"), beside, alone]) == ["A magnitude minus B random"]


def test_runs_that_repeat_a_seed_are_no_further_sample():
    results = [(0, 0.8), (0, 0.6), (1, 0.9)]
    repeated = entrant("A", [(seed, {"test_accuracy": x}) for seed, x in results])
    found = Contrast.of(repeated, chosen("B", {0: 0.5, 1: 0.5}))
    assert found.seeds == 2
    assert found.found.spread.mean == pytest.approx(100 * (0.2 + 0.4) / 2)


def test_a_choice_is_compared_with_the_random_architecture_of_its_own_configuration():
    some = [chosen("B", source="random"), chosen("A"), chosen("A", SCORES["C"], source="random")]
    found = with_random(some[1], some)
    assert found.second is some[2]
    assert with_random(some[2], some) is None
    differences = [SCORES["A"][seed] - SCORES["C"][seed] for seed in SCORES["A"]]
    expected = stats.wilcoxon(differences, alternative="greater").pvalue
    assert found.better == pytest.approx(expected)
    other = chosen("A", SCORES["C"], source="random", own={"epochs": 3})
    assert with_random(some[1], [some[1], other]) is None


def test_less_is_better_where_the_score_says_so():
    def distances(name, factor, **how):
        facts = {"judged_by": "distance", "higher_is_better": False}
        results = [(seed, {"distance": factor * (1 + seed), **facts}) for seed in range(4)]
        return entrant(name, results, **how)

    found = Contrast.of(distances("A", 0.5), distances("A", 1.0, source="random"))
    assert found.mean.startswith("−")
    assert found.better == 1 / 2**4
    assert found.unequal == 2 / 2**4


def true(name, *scores, space="Cells", table=None, epochs=200):
    """Choices with true accuracies on two data sets."""
    config = {"space": {"_target_": space}, "strategy": {"evaluator": {"table": table}}}
    own = {} if epochs is None else {"epochs": epochs}
    results = [
        (seed, {"true": {"cifar10": {"accuracy": x} | own, "cifar100": {"accuracy": x / 2} | own}})
        for seed, x in enumerate(scores)
    ]
    return entrant(name, results, kind="select", config=config)


def test_true_results_are_compared_within_a_space_but_not_with_those_that_read_the_table():
    some = [
        true("A", 0.94, 0.93, 0.92),
        true("B", 0.93, 0.91, 0.89),
        true("C", 0.9, 0.9, 0.9, space="Graphs"),
        true("D", 0.9, 0.9, 0.9, table="table.csv"),
    ]
    contrasts = between(some)
    assert [row[:3] for row in contrasts.rows] == [
        ("A magnitude minus B magnitude", "3", "+2.00 points")
    ]
    assert "read the table" in contrasts.note
    views = [kept for kept in judged_by_tables(some) if kept.data == "cifar100"]
    assert [kept.name for kept in views] == [f"{name} magnitude" for name in "ABCD"]
    assert [row[2] for row in between(views).rows] == ["+1.00 points"]


def test_true_results_after_12_epochs_are_not_compared_with_those_after_200():
    some = [true("A", 0.94, 0.93), true("B", 0.9, 0.88), true("C", 0.8, 0.79, epochs=12)]
    contrasts = between(some)
    assert [row[0] for row in contrasts.rows] == ["A magnitude minus B magnitude"]
    assert "different numbers of epochs" in contrasts.note
    unknown = [true(name, 0.94, 0.93, epochs=None) for name in "AB"]  # results of earlier versions
    assert len(between(unknown).rows) == 1


def test_a_training_that_was_extended_is_of_the_same_recipe_as_the_baseline_that_was():
    chosen, drawn = (
        SimpleNamespace(config={"epochs": 9, "extend": name, "genotype": name})
        for name in ("magnitude", "random")
    )
    assert _recipe(chosen) == _recipe(drawn)
    assert _recipe(chosen) != _recipe(SimpleNamespace(config={"epochs": 8, "extend": "random"}))
    assert _recipe(chosen) != _recipe(SimpleNamespace(config={"epochs": 9}))

"""`nasrun reproduce`: a claim is listed, run seed by seed, continued, and not changed."""

import json
from collections import Counter
from pathlib import Path

import pytest
from claims.conftest import SMALL, TINY, written
from PIL import Image

from nasrun.claims import reading
from nasrun.runs.stage_folder import StageFolder

CONF = Path(__file__).parents[3] / "conf"
RESULTS = Path("outputs/claims/results.jsonl")


@pytest.fixture
def tiny(here):
    return written(here / "tiny.yaml", TINY)


def test_all_claims_are_listed_with_paper_state_and_cost(nasrun, monkeypatch):
    monkeypatch.setenv("COLUMNS", "400")
    told = nasrun("reproduce").out
    for name in reading.names():
        (row,) = [line for line in told.splitlines() if f" {name} " in line]
        assert reading.read(reading.file_of(name)).sentence in row
    assert told.endswith("docs/results.jsonl\n")


def test_a_killed_claim_continues_in_its_stage_and_repeats_nothing(
    nasrun, tiny, no_pictures, monkeypatch
):
    rounds, log, kills = Counter(), StageFolder.log, iter([4])

    def killed(folder, round, metrics):
        rounds[folder.kind] += 1
        if rounds["search"] == 4 and next(kills, None):  # the last round of the second search
            raise KeyboardInterrupt
        log(folder, round, metrics)

    monkeypatch.setattr(StageFolder, "log", killed)
    words = ("reproduce", "tiny.yaml", "--seeds", "1", "jobs=1")
    assert nasrun(*words).status == 130
    assert [json.loads(line)["arm"] for line in RESULTS.open()] == ["darts"]
    rounds.clear()
    answer = nasrun(*words)
    assert answer.status == 0, answer.err
    assert "1 of 2 seeds: 1 run is missing, about 3 core-minutes" in answer.out
    assert rounds["search"] == 1
    assert "begun: 2 of 4 runs" in answer.out
    found = [json.loads(line) for line in RESULTS.open()]
    assert [(line["arm"], line["seed"]) for line in found] == [("darts", 0), ("snas", 0)]
    for line in found:
        assert line["protocol"] == reading.read(tiny).frozen
        assert {"commit", "versions", "machine", "genotype", "core_seconds"} <= line.keys()
        assert " cores, " in line["machine"]
        (result,) = tiny.parent.glob(
            f"outputs/claims/runs/*-{line['arm']}/v001/select/*/result.json"
        )
        assert line["values"]["gap"] == json.loads(result.read_text())["gap"]
    rounds.clear()
    assert "nothing is left to run" in nasrun(*words).out
    assert nasrun("reproduce", "tiny.yaml", "jobs=1").status == 0
    assert rounds["search"] == 4
    assert "measured: " in nasrun("reproduce", "tiny.yaml").out


def test_a_curtailed_claim_ends_when_nothing_can_hold_any_more(nasrun, here, no_pictures):
    # an arm is not larger than itself: one pair of five is lost, and 1/16 is too large
    same = {**TINY["comparisons"][0], "larger": "snas", "smaller": "snas"}
    written(here / "tiny.yaml", {**TINY, "seeds": 5, "curtailed": True, "comparisons": [same]})
    answer = nasrun("reproduce", "tiny.yaml", "jobs=1")
    assert answer.status == 0, answer.err
    assert "measured: cannot hold, stopped after 2 of 10 runs" in answer.out
    assert "no comparison can hold any more" in answer.out
    assert len(RESULTS.read_text().splitlines()) == 2
    again = nasrun("reproduce", "tiny.yaml", "jobs=1").out
    assert "nothing is left to run" in again
    assert "no comparison can hold" not in again


def test_a_folder_whose_name_hydra_must_read_in_quotes_is_found_again(nasrun, tiny, no_pictures):
    words = ("--seeds", "1", "jobs=1", "arms=darts", "outputs=exp (1), José")
    answer = nasrun("reproduce", "tiny.yaml", *words)
    assert answer.status == 0, answer.err
    assert "begun: 1 of 4 runs" in answer.out


def test_an_arm_may_end_with_an_analysis_and_its_data_may_have_any_path(nasrun, here, no_pictures):
    root = here / "pets (copy), 1"
    for name in ("train/ant", "train/bee", "test/ant", "test/bee"):
        (root / name).mkdir(parents=True)
        for number in range(8):
            Image.effect_noise((8, 8), 90).save(root / name / f"{number}.png")
    small = SMALL.replace("batch_size=16 images=64", "batch_size=2")
    claim = {
        "words": f"{small} dataset=image_folder dataset.size=8",
        "arms": {
            "darts": [
                "search strategy=darts",
                "analyze search shuffles=0 images=4 edges=1 rounds=1",
            ]
        },
        "minutes": {},
        "needs": ["dataset.root"],
        "measures": {"gap": {**TINY["measures"]["gap"], "stage": "search", "key": "seconds"}},
        "comparisons": [],
        "seeds": 1,
    }
    written(here / "pets.yaml", {**TINY, **claim})
    answer = nasrun("reproduce", "pets.yaml", f"dataset.root={root}")
    assert answer.status == 0, answer.err
    (line,) = RESULTS.open()
    assert json.loads(line)["values"]["gap"] > 0


def test_a_claim_may_have_measures_of_a_package_beside_it(nasrun, here):
    (here / "mygauges.py").write_text(
        "from nasrun.claims.measures import Result\nclass Mine(Result): pass\n"
    )
    gap = {**TINY["measures"]["gap"], "_target_": "mygauges.Mine"}
    written(here / "tiny.yaml", {**TINY, "measures": {"gap": gap}})
    assert "trust=[mygauges]" in nasrun("reproduce", "tiny.yaml", "freeze=true").refusal
    answer = nasrun("reproduce", "tiny.yaml", "freeze=true", "trust=[mygauges]")
    assert answer.status == 0, answer.err


def test_arms_use_options_and_packages_that_are_typed_and_no_file_may_trust_a_package(
    nasrun, here, table
):
    (here / "myscores.py").write_text(
        "from nasrun.evaluators.tabular import Tabular\nclass Mine(Tabular): pass\n"
    )
    (here / "conf/evaluator").mkdir(parents=True)
    tabular = (CONF / "evaluator/tabular.yaml").read_text()
    mine = tabular.replace("nasrun.evaluators.tabular.Tabular", "myscores.Mine")
    (here / "conf/evaluator/mine.yaml").write_text(mine)
    first = {"_target_": "nasrun.claims.measures.BestOfFirst", "text": "best", "data": "cifar10"}
    claim = {
        "words": "space=nasbench201 strategy=random strategy.num_candidates=2 budget.threads=1",
        "arms": {"mine": ["search evaluator=mine", "select"]},
        "minutes": {},
        "needs": ["space.table"],
        "measures": {"first": {**first, "count": 1}},
        "comparisons": [],
        "seeds": 1,
    }
    written(here / "own.yaml", {**TINY, **claim})
    words = ["own.yaml", f"space.table={table}"]
    own = ["trust=[myscores]", "hydra.searchpath=[file://conf]"]
    for lacking in ([], own[:1], own[1:]):
        assert "evaluator" in nasrun("reproduce", *words, *lacking).refusal
    answer = nasrun("reproduce", *words, *own)
    assert answer.status == 0, answer.err
    claim["arms"]["mine"][1] = "select trust=[myscores]"
    written(here / "evil.yaml", {**TINY, **claim})
    told = nasrun("reproduce", "evil.yaml", "freeze=true").refusal
    assert "arms.mine[1]: trust=[myscores] would let a file run code; type it on the" in told


def test_a_changed_word_is_refused_before_anything_runs(nasrun, tiny, here):
    tiny.write_text(tiny.read_text().replace("strategy=snas", "strategy=gdas"))
    assert "undo the change, or freeze it" in nasrun("reproduce", "tiny.yaml").refusal
    answer = nasrun("reproduce", "tiny.yaml", "freeze=true")
    assert answer.out == f"tiny.yaml: frozen as {reading.read(tiny).frozen}\n"
    assert [path.name for path in here.iterdir()] == ["tiny.yaml"]


def test_wrong_words_are_refused_in_one_line_and_leave_nothing(nasrun, tiny, here):
    for words, told in {
        ("snas_gab",): "snas_gab: unknown claim, did you mean snas_gap?",
        ("snas_gap",): "dataset.root: snas_gap needs it; add dataset.root=FOLDER to the command",
        ("snas_gap", "dataset.root=no"): "dataset.root=no: cifar10 is not in ",
        ("tiny.yaml", "--sead", "1"): "--sead: unknown flag, did you mean seeds?",
        ("tiny.yaml", "--seeds"): "--seeds: needs a value; type --seeds N",
        ("tiny.yaml", "seeds=3"): "seeds=3: the protocol has 2; use at most that",
        ("tiny.yaml", "seeds=0"): "seeds=0: use 1 or more",
        ("tiny.yaml", "arms=snass"): "arms=snass: no such arm, did you mean snas?",
        ("tiny.yaml", "-s"): "-s: unknown flag",
        ("tiny.yaml", "space.table=x"): "space.table=x: has no effect on tiny; leave it out",
        ("tiny.yaml", "page=x.md"): "page=x.md: a page has all claims; leave tiny.yaml out",
        ("tiny.yaml", "snas_gap"): "name one claim at a time",
        ("seeds=1",): "seeds=1: has no effect without a claim; name one",
        ("page=x.md",): "page=x.md: there is no such file",
        ("page=tiny.yaml",): "page: has no <!-- claim NAME -->",
        ("results=x.jsonl",): "results=x.jsonl: there is no such file",
        ("tiny.yaml", "results=."): "results=.: . is in its place; name another file",
        ("tiny.yaml", "results=tiny.yaml/x"): "tiny.yaml is in its place; name another file",
        ("bayesian_nb201", "space.table=x.csv"): "space.table=x.csv: cannot be read",
    }.items():
        assert told in nasrun("reproduce", *words).refusal, words
    assert [path.name for path in here.iterdir()] == ["tiny.yaml"]


def test_a_wrong_word_of_a_later_command_is_refused_before_the_first_runs(nasrun, here):
    first, later = TINY["arms"]["snas"]
    arms = {**TINY["arms"], "snas": [first, later.replace("argmax", "argmin")]}
    written(here / "tiny.yaml", {**TINY, "arms": arms})
    assert "selector=argmin: unknown option" in nasrun("reproduce", "tiny.yaml").refusal
    for one in ([f"{first} budget.processes=2", later], [first, f"{later} budget.processes=2"]):
        written(here / "tiny.yaml", {**TINY, "arms": {**TINY["arms"], "snas": one}})
        told = "budget.processes=2: an arm of a claim has one process; leave it out"
        assert told in nasrun("reproduce", "tiny.yaml").refusal
    assert [path.name for path in here.iterdir()] == ["tiny.yaml"]


def test_an_arm_that_fails_is_told_and_the_others_go_on(nasrun, here, no_pictures, monkeypatch):
    written(here / "tiny.yaml", {**TINY, "seeds": 1})

    def fails(folder, *arguments):
        raise ValueError("no space is left")

    log = StageFolder.log
    monkeypatch.setattr(
        StageFolder,
        "log",
        lambda folder, *a: (fails if "darts" in str(folder.path) else log)(folder, *a),
    )
    answer = nasrun("reproduce", "tiny.yaml", "jobs=1")
    assert answer.status == 2
    assert answer.err == "nasrun: darts, seed 0: no space is left\n"
    assert [json.loads(line)["arm"] for line in RESULTS.open()] == ["snas"]


def test_a_claim_whose_arms_have_no_hours_left_is_repeated_by_the_same_command(nasrun, here):
    words = f"{SMALL} budget.max_hours=1e-9"
    written(here / "tiny.yaml", {**TINY, "words": words, "seeds": 1})
    answer = nasrun("reproduce", "tiny.yaml", "jobs=1")
    assert answer.status == 75, answer.err
    assert "nasrun: darts, seed 0: budget.max_hours=" in answer.err

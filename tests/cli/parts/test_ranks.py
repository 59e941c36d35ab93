"""`nasrun analyze ranks`: what it scores, goes on with, compares, writes and refuses."""

import json
import math

import pytest

from nasrun.analysis.scorers import refuse_trained_first
from nasrun.evaluators.base import Evaluator

SMALL = ["width=2", "depth=3", "images=64", "dataset.size=8", "budget.threads=1"]
SMALL += ["budget.device=cpu"]
FEW = ["count=5", "top=2", "resamples=5"]
SPACE = ["space=nasbench201"]


@pytest.fixture
def words(table):
    return [*SPACE, f"space.table={table}", *SMALL, *FEW]


def lines(folder):
    return [json.loads(line) for line in (folder / "measured.jsonl").read_text().splitlines()]


def test_scores_are_compared_with_the_table_beside_the_controls(nasrun, here, words):
    answer = nasrun("analyze", "ranks", *words, "evaluator=swap,az_nas", "evaluator.images=4")
    assert answer.status == 0, answer.err
    folder = here / "outputs" / "analysis" / "ranks"
    record = json.loads((folder / "ranks.json").read_text())
    assert record["truth"] == "cifar10_test_200ep"
    rows = {row["score"]: row for row in record["rows"]}
    parts = ("expressivity", "progressivity", "trainability", "macs")
    joined = ["az_nas", *(f"az_nas/{name}" for name in parts)]
    assert list(rows) == ["swap", *joined, "params", "macs"]
    assert rows["macs"]["kendall"] == rows["az_nas/macs"]["kendall"]
    assert 2 <= rows["swap"]["n"] <= 5
    assert -1 <= rows["params"]["spearman"]["value"] <= 1
    assert [name for name, row in rows.items() if "lead" not in row] == ["params"]
    over = rows["macs"]["kendall"]["value"] - rows["params"]["kendall"]["value"]
    assert rows["macs"]["lead"]["value"] == pytest.approx(over)
    assert "Kendall's tau less that of params" in answer.out
    assert len(lines(folder)) == 3 * 5
    assert "against cifar10_test_200ep" in answer.out


def test_scoring_goes_on_where_it_was_stopped_and_other_settings_are_scored_anew(
    nasrun, here, words
):
    command = ["analyze", "ranks", *words, "evaluator=swap", "evaluator.images=4", "out=o"]
    assert nasrun(*command).status == 0
    whole = (here / "o" / "measured.jsonl").read_text()
    record = (here / "o" / "ranks.json").read_text()
    cut = whole.splitlines(keepends=True)[:3]
    (here / "o" / "measured.jsonl").write_text("".join(cut) + '{"score": "sw')
    assert nasrun(*command).status == 0
    again = lines(here / "o")
    assert (here / "o" / "measured.jsonl").read_text().startswith("".join(cut))
    for before, after in zip(map(json.loads, whole.splitlines()), again, strict=True):
        for line in (before, after):
            line["value"].pop("seconds")
        assert before == after
    other = [word.replace("images=4", "images=6") for word in command]
    assert nasrun(*other).status == 0
    assert len(lines(here / "o")) == len(again) + 5  # the controls are the same
    assert nasrun(*command).status == 0
    now = json.loads((here / "o" / "ranks.json").read_text())
    for row in (*now["rows"], *(then := json.loads(record))["rows"]):
        row.pop("seconds", None)
    assert now["rows"] == then["rows"]


def test_scores_that_an_earlier_version_kept_are_known(nasrun, here, words):
    command = ["analyze", "ranks", *words, "evaluator=swap", "evaluator.images=4", "out=o"]
    assert nasrun(*command).status == 0
    folder, record = here / "o", (here / "o/ranks.json").read_text()
    with (folder / "scores.jsonl").open("w") as file:
        for line in lines(folder):
            score, place, text, made_with = line["of"]
            former = {"score": score, "made_with": made_with, "place": int(place)}
            file.write(json.dumps({**former, "architecture": text, **line["value"]}) + "\n")
    (folder / "measured.jsonl").unlink()
    assert nasrun(*command).status == 0
    assert not (folder / "measured.jsonl").exists()
    assert (folder / "ranks.json").read_text() == record


def test_spent_hours_stop_between_two_scores(nasrun, here, words):
    command = ["analyze", "ranks", *words, "evaluator=swap", "evaluator.images=4", "out=o"]
    spent = nasrun(*command, "budget.max_hours=1e-9")
    assert (spent.status, "repeat the command to go on" in spent.out) == (75, True)
    assert len(lines(here / "o")) == 1
    assert nasrun(*command).status == 0


def test_the_table_is_read_when_all_is_scored(nasrun, here, words, monkeypatch):
    def unread(path):
        raise ValueError("the table is read now")

    monkeypatch.setattr("nasrun.analysis.ranks.Table.read", unread)
    command = ["analyze", "ranks", *words, "evaluator=params", "evaluator.images=4", "out=o"]
    assert "the table is read now" in nasrun(*command).refusal
    assert len(lines(here / "o")) == 10


def test_the_supernet_of_a_finished_search_is_asked_for_single_architectures(nasrun, here, table):
    small = ["rounds=1", "batch_size=16", *SMALL]
    for strategy in (["strategy=gdas"], ["strategy=random", "evaluator=inherited"]):
        assert nasrun("search", *SPACE, *strategy, *small).status == 0
    for run in here.glob("outputs/*/v001"):
        words = [f"run={run}", f"space.table={table}", "images=16"]
        command = ["analyze", "ranks", *words[: None if "gdas" in str(run) else 2], *FEW]
        answer = nasrun(*command)
        assert answer.status == 0, answer.err
        rows = json.loads((run / "analysis" / "ranks" / "ranks.json").read_text())["rows"]
        names = [row["score"] for row in rows]
        own = ["inherited"] if "inherited" in str(run) else ["supernet", "alphas"]
        assert names == [*own, "params", "macs"]
    assert nasrun("list", "runs").status == 0


def test_the_judge_of_a_run_has_its_space_its_table_and_its_device(nasrun, here, table):
    from nasrun.analysis.scorers import Referee, of_run

    known = [*SPACE, "space.stem=cifar_half", f"space.table={table}"]
    words = ["strategy=gdas", "rounds=1", "batch_size=16", *SMALL]
    assert nasrun("search", *known, *words).status == 0
    (run,) = map(str, here.glob("outputs/*/v001"))
    _, _, judge = of_run(run, None, 0, Referee("naswot", ["strategy.evaluator.images=4"]), [])
    assert judge.evaluator.layout.stem == "cifar_half"
    assert judge.evaluator.budget is judge.evaluator.task.budget
    assert judge.evaluator.budget.device == "cpu"
    _, _, judge = of_run(run, None, 0, Referee("tabular", []), [])
    assert judge.evaluator.path == table


def test_an_architecture_is_as_likely_as_the_alphas_say_and_runs_alone(begin):
    from nasrun.analysis.scorers import Asked

    strategy = begin("space=nasbench201", "strategy=darts", "rounds=1", *SMALL)
    asked = Asked(strategy, None, "")
    genotype = strategy.space.sample()
    table = strategy.supernet.probabilities()
    found = asked.numbers(0, genotype)
    p = math.prod(table[name][choice] for name, choice in genotype.items())
    assert found["alphas"] == pytest.approx(math.log(p))
    strategy.supernet.fixed = dict(genotype)
    assert found["supernet"] == strategy.validate()["accuracy"]


def test_brief_training_can_be_the_truth(nasrun, here):
    command = ["analyze", "ranks", *SPACE, *SMALL, "count=3", "top=1", "resamples=2", "out=o"]
    judge = ["evaluator=params", "evaluator.images=4", "against=from_scratch", "against.epochs=1"]
    answer = nasrun(*command, *judge)
    assert answer.status == 0, answer.err
    record = json.loads((here / "o" / "ranks.json").read_text())
    assert (record["truth"], record["table"]) == ("against=from_scratch", None)
    assert [row["score"] for row in record["rows"]] == ["params", "macs"]


def test_a_judge_whose_trainings_all_diverge_is_refused_and_no_table_is_asked_for(nasrun, here):
    command = ["analyze", "ranks", *SPACE, *SMALL, "count=2", "top=1", "resamples=2", "out=o"]
    judge = ["evaluator=params", "evaluator.images=4", "against=from_scratch", "against.epochs=1"]
    refusal = nasrun(*command, *judge, "against.optimizer.lr=1e30", "against.clip=null").refusal
    assert "against=from_scratch: 0 of its scores are finite" in refusal
    assert "set its keys by against.KEY=VALUE" in refusal


def test_wrong_words_are_refused_in_one_line(nasrun, here, table):
    known = f"space.table={table} space=nasbench201"
    for words, told in {
        "": "analyze ranks: give evaluator=NAME,... or run=RUN",
        "evaluator=naswot run=x": "give evaluator=NAME,... or run=RUN, one of the two",
        f"{known} evaluator=naswot count=1": "count=1: use 2 or more",
        f"{known} evaluator=naswot count=5": "top=10: there are count=5 architectures",
        f"{known} evaluator=naswot selector=argmax": "selector=argmax: has no effect on",
        f"{known} evaluator=naswot strategy.num_candidates=5": "has no effect, architectures are",
        f"{known} evaluator=naswot strategy.together=5": "has no effect, architectures are drawn",
        f"{known} evaluator=naswot rounds=5": "rounds=5: has no effect, no score reads rounds",
        f"{known} evaluator=naswot alpha_lr=1": "alpha_lr=1: has no effect, no score reads",
        f"{known} evaluator=naswot batch_size=9": "batch_size=9: has no effect, no score reads",
        f"{known} evaluator=inherited": "evaluator=inherited: trains a supernet first",
        "evaluator=macs against=inherited": "against=inherited: trains a supernet first",
        f"{known} evaluator=naswot column=x": f"column=x: table={table} has",
        f"{known} evaluator=params against=from_scratch": "has no effect with against=",
        "space=nasbench201 evaluator=params": "space.table=null: give a table",
        "space=nasbench201 space.table=no.csv evaluator=params": "table=no.csv: cannot be read",
        f"{known} evaluator=naswot against.epochs=1": "without against=EVALUATOR; leave it out",
        "run=nowhere width=3": "width=3: run=nowhere has its own; leave it out",
        f"{known} evaluator=naswot -m": "analyze ranks -m: takes no flags",
    }.items():
        assert told in nasrun("analyze", "ranks", *words.split()).refusal, words
    assert list(here.iterdir()) == []


def test_another_sample_in_the_same_folder_is_scored_anew(nasrun, here, words):
    command = ["analyze", "ranks", *words, "evaluator=params", "evaluator.images=4", "out=o"]
    for seed in (0, 1, 0):
        answer = nasrun(*command, f"seed={seed}")
        assert answer.status == 0, answer.err
    assert len(lines(here / "o")) == 2 * 10
    texts = {line["of"][2] for line in lines(here / "o")}
    assert len(texts) > 5


def test_a_table_of_a_folded_space_knows_what_is_drawn():
    from nasrun.analysis.scorers import Sample
    from nasrun.config import build, compose, resolve
    from nasrun.spaces.base import entry_of

    space = build(resolve(compose(["space=nasbench101"]).config["space"]), "space")
    drawn = Sample(space, 0, None, None).draw(5)
    known = {entry_of(space, each): place / 10 for place, each in enumerate(drawn)}
    found = Sample(space, 0, None, None).truth(drawn, known)
    assert found == {space.render(each): known[entry_of(space, each)] for each in drawn}


def test_an_evaluator_of_the_users_that_trains_first_is_refused():
    class Sharing(Evaluator):
        warm_up_rounds = 3

        def begin(self, context): ...

        def __call__(self, genotype): ...

    with pytest.raises(ValueError, match="evaluator=sharing: trains a supernet first"):
        refuse_trained_first("evaluator=sharing", Sharing())
    Sharing.warm_up_rounds = 0
    refuse_trained_first("evaluator=sharing", Sharing())

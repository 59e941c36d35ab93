"""`nasrun plan`: its times, and its refusals."""

import json
import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from toys import Scores, Toy, context

from nasrun.budget import Budget
from nasrun.data.images import TensorDataset
from nasrun.data.splits import TensorSplit
from nasrun.engines.base import OnEngine
from nasrun.evaluators.from_scratch import FromScratch
from nasrun.pipeline import forecast
from nasrun.pipeline.forecast import Ahead, Process, foresee_stages
from nasrun.pipeline.rehearsal import Rehearsing
from nasrun.stage import Foreseen, Rehearsal, Stage
from nasrun.strategies.random_search import RandomSearch


@pytest.fixture(autouse=True)
def no_notes(monkeypatch, tmp_path):
    """Use an empty folder of notes."""
    monkeypatch.setenv("NASRUN_CACHE", str(tmp_path / "cache"))


class Walk(Stage):
    """Ten items a round."""

    rounds = 3

    def __init__(self):
        self.walked = 0

    def run_round(self):
        for _ in self.track(range(10), 10):
            self.walked += 1
        return {}

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass

    def finish(self, folder):
        return {}


class Phases(Walk, Foreseen):
    """Two rounds of ten items, then one of four with a rest."""

    def __init__(self):
        super().__init__()
        self.did = []

    def foreseen_bytes(self):
        return 2**30

    def rehearsals(self):
        self.items = 10
        yield Rehearsal(2, self.play, 2, lambda: self.did.append("nothing"))
        self.items = 4
        yield Rehearsal(1, self.play, 1, lambda: self.did.append("rest"))

    def run_round(self):
        for _ in self.track(range(self.items), self.items):
            self.did.append(self.items)
        return {}


def test_every_kind_of_round_is_timed_and_counted_as_often_as_it_comes(monkeypatch):
    phases, clock = Phases(), iter(range(1000))
    monkeypatch.setattr(time, "perf_counter", lambda: float(next(clock)))
    process = Process(Budget(device="cpu", precision="fp32", threads=1, max_hours=None))
    ahead = Ahead(search=lambda: phases, select=None, trainings={}, baseline=False)
    (found,) = foresee_stages(ahead, process, Rehearsing(None, 40), lambda text: None)
    assert phases.did == [*[10] * 4, "nothing", *[4] * 4, "rest"]
    assert found.memory_gib == pytest.approx(process.gib + 1.0)
    assert found.steps == 24
    assert found.disk_gib == 2 * forecast.saved_bytes({}) / 2**30
    assert found.step_seconds == 1.0
    assert found.hours == pytest.approx((24 + 3) / 3600)  # a second a step and a rest
    assert not found.scaled


def test_no_step_is_taken_where_a_later_stage_does_not_fit():
    phases = Phases()

    def training():
        raise ValueError("this is too large")

    process = Process(Budget(device="cpu", precision="fp32", threads=1, max_hours=None))
    ahead = Ahead(
        search=lambda: phases, select=None, trainings={"transfer": training}, baseline=False
    )
    told = []
    found = foresee_stages(ahead, process, Rehearsing(None, 40), told.append)
    assert phases.did == []
    assert [(each.stage, each.refusal) for each in found] == [
        ("search", None),
        ("transfer", "this is too large"),
    ]
    assert found[0].memory_gib == pytest.approx(process.gib + 1.0)
    assert forecast.Outlook({}, found).refusals == ["transfer: this is too large"]
    assert [text.split(":")[0] for text in told] == ["search", "transfer"]


def test_radars_is_timed_in_each_of_its_phases(nasrun):
    words = [*WORDS, "strategy=radars", "rounds=2", "strategy.explore.updates=1"]
    words = [word for word in words if not word.startswith(("stages", "retrain"))]
    answer = nasrun("plan", *words, "stages=[search]")
    assert answer.status == 0, answer.err
    rounds = 2 + 2 * (2 + 2)  # warm-up, then two cycles
    assert f" {3 * rounds} " in answer.out  # three steps each


FEW = ["space.kernels=[3]", "space.expansions=[1,3]"]  # and skipping a layer
WORDS = ["space=mobile", "depth=3", "width=2", "images=64", "batch_size=16", "budget.threads=1"]
WORDS += ["budget.device=cpu", "stages=[search,select,retrain]", "retrain.batch_size=16", *FEW]


@pytest.mark.parametrize(
    ("words", "steps"),
    [
        # 48 images to train on, in batches of 16
        (["strategy=random", "strategy.num_candidates=3"], 3 * 2),
        (["strategy=evolution", "strategy.num_candidates=16"], 16 * 2),
        (["strategy=random", "evaluator=inherited", "evaluator.rounds=5"], 5),
        (["strategy=reinforce", "rounds=4", "strategy.explore.updates=1"], 2 + 4),
    ],
)
def test_searches_of_whole_networks_are_timed_by_steps_of_training(words, steps, nasrun):
    trained = {"strategy=random", "strategy=evolution"} & set(words)
    if trained and "evaluator=inherited" not in words:
        words = [*words, "evaluator.epochs=2"]
    answer = nasrun("plan", *PLANNED, "stages=[search]", *words)
    assert answer.status == 0, answer.err
    found = rf"search +│ +[\d.]+ GiB +│ +[\d.]+ s +│ +{3 * steps} "
    assert re.search(found, answer.out), answer.out


def test_a_selection_is_planned_with_its_tuning_and_its_trainings(nasrun):
    stages = "stages=[search,select]"
    cells = [word for word in PLANNED if word not in ("space=mobile", *FEW)]
    answer = nasrun("plan", *cells, stages, "space=nasbench201", "selector=perturb")
    assert answer.status == 0, answer.err
    steps = 3 * (6 + 1)  # six rounds of tuning, an epoch of the child to see what it loses
    assert re.search(rf"select +│ +[\d.]+ GiB +│ +[\d.]+ s +│ +{steps} ", answer.out), answer.out
    halving = ["selector=halving", "selector.contestants=4", "selector.evaluator.epochs=1"]
    halving += ["strategy=random", "strategy.num_candidates=5"]
    answer = nasrun("plan", *PLANNED, stages, *halving)
    steps = 3 * (4 * 1 + 2 * 2)
    assert re.search(rf"select +│ +- +│ +[\d.]+ s +│ +{steps} ", answer.out), answer.out


@pytest.mark.parametrize(
    ("strategy", "selector", "rounds"),
    [
        ("radars", "argmax", 0),
        ("radars", "perturb", 3),
        ("sgas", "perturb", 0),  # it leaves nothing to decide
        ("darts", "perturb", 3),
    ],
)
def test_a_selection_is_planned_on_what_the_search_leaves(strategy, selector, rounds, nasrun):
    words = [f"strategy={strategy}", f"selector={selector}"]
    words += ["strategy.explore.updates=0"] if strategy == "radars" else []
    answer = nasrun("plan", *PLANNED, "stages=[search,select]", *words)
    assert answer.status == 0, answer.err
    steps = 3 * (rounds + 1)
    assert re.search(rf"select +│ +[\d.]+ GiB +│ +[\d.]+ s +│ +{steps} ", answer.out), answer.out


def test_the_test_at_the_end_is_timed_by_images_that_are_trained_on():
    train = TensorSplit(
        images=torch.zeros(100, 1, 2, 2, dtype=torch.uint8),
        labels=torch.arange(100),
        facts=None,
        device="cpu",
    )
    seen = []
    learner = SimpleNamespace(evaluate=lambda split, together: seen.append((split, together)))
    task = SimpleNamespace(dataset=SimpleNamespace(count_test=lambda: 1000))
    rehearsal = forecast._test(
        SimpleNamespace(batch_size=8, train=train, task=task, learner=learner)
    )
    rehearsal.rest()
    assert (rehearsal.rounds, rehearsal.rests) == (0, 1000 / 16)
    ((few, together),) = seen
    assert (few.labels.tolist(), together) == (list(range(16)), 16)


@pytest.mark.parametrize(
    ("together", "side_by_side", "in_turn"), [(4, 2, 5), (4, 1, 9), (1, 2, 9), (9, 4, 3)]
)
def test_trainings_that_follow_one_another_are_counted(together, side_by_side, in_turn):
    class Engine:
        def side_by_side(self, cores):
            return side_by_side

    class Job:
        def learner(self, genotype):
            return None

    evaluator = object.__new__(FromScratch)
    evaluator.job, evaluator.engine = Job(), Engine()
    evaluator.threads, evaluator.epochs, evaluator.speed_epochs = 8, 2, None
    rehearsal = evaluator.rehearsal(None, 9, together)
    assert (rehearsal.rounds, rehearsal.rests) == (2 * in_turn, in_turn)


def test_what_will_lie_on_disk_is_what_lies_there(nasrun, here):
    alike = ["space.expansions=[3]", "space.skip=false", "space.kernels=[3,5]"]  # all as large
    words = [*WORDS, *alike, "rounds=2", "epochs=2", "selector=perturb"]
    words += ["baseline=false"]
    planned = nasrun("plan", *words).out
    assert "retrain random" not in planned
    assert nasrun("run", *words).status == 0
    (run,) = here.glob("outputs/*/v001")
    for stage in ("search", "select", "retrain"):
        found = re.search(rf"{stage} +│[^\n]*│ +([\d.]+) MiB", planned)
        assert found is not None, planned
        files = [f for f in (run / stage).rglob("*") if f.suffix in (".pt", ".safetensors")]
        held = sum(file.stat().st_size for file in files) / 2**20
        assert float(found[1]) == pytest.approx(held, rel=0.3, abs=0.1), (stage, files)


ONE = "budget.threads=1"
PLANNED = ["space=mobile", "depth=3", "width=2", "images=64", "batch_size=16", "rounds=2"]
PLANNED += ["budget.threads=1", "budget.device=cpu", *FEW]


def test_a_plan_is_answered_from_what_it_measured_before(nasrun, here, monkeypatch):
    words = [*PLANNED, "stages=[search]"]
    first = nasrun("plan", *words)
    assert "measured before" not in first.out

    def measured(*arguments):
        raise AssertionError("a step was taken")

    monkeypatch.setattr("nasrun.pipeline.foresight.foresee_stages", measured)
    again = nasrun("plan", *words)
    *table, note = again.out.splitlines()
    assert table == first.out.splitlines()
    assert note.startswith("measured before; to measure again, delete ")
    Path(note.rpartition(" ")[2]).write_text("no note")
    with pytest.raises(AssertionError, match="a step was taken"):
        nasrun("plan", *words)


def test_a_plan_prints_its_tables_and_leaves_nothing(nasrun, here):
    answer = nasrun("plan", *WORDS)
    assert answer.status == 0, answer.err
    for word in ("genotypes", "27", "search", "retrain random", "GiB", "in all"):
        assert word in answer.out, word
    assert list(here.iterdir()) == []


def rows(answer):
    """The forecast's stages."""
    assert answer.status == 0, answer.err
    return re.findall(r"^│ ([a-z ]+?) +│(?: [^│]*│){5}$", answer.out, re.MULTILINE)


def test_a_later_verb_is_planned_on_what_the_run_has_found(nasrun, here):
    assert nasrun("search", *PLANNED).status == 0
    assert rows(nasrun("plan", "select", "method=perturb", ONE)) == ["select"]
    assert nasrun("select", ONE).status == 0
    before = sorted(here.rglob("*"))
    recipe = [ONE, "epochs=1", "retrain.layers=3", "retrain.channels=2"]
    planned = nasrun("plan", "retrain", *recipe)
    assert rows(planned) == ["retrain"]
    assert sorted(here.rglob("*")) == before
    assert nasrun("retrain", *recipe).status == 0
    (path,) = here.glob("outputs/*/v001/retrain/*/result.json")
    result = json.loads(path.read_text())
    for name, key in (("parameters", "params"), ("multiply-adds", "macs")):
        found = re.search(rf"{name} when retrained +│ ([\d.]+) M, in the space", planned.out)
        assert found is not None, planned.out
        assert float(found[1]) == pytest.approx(result[key] / 1e6, abs=6e-4)


def test_the_training_of_a_published_cell_is_planned(nasrun, here):
    words = ["genotype=darts_v2", "images=64", "retrain.channels=4", "budget.threads=1"]
    words.append("retrain.layers=3")
    assert rows(nasrun("plan", "retrain", *words)) == ["retrain"]
    assert list(here.iterdir()) == []


def test_a_verb_that_is_planned_reads_what_it_does_otherwise(nasrun):
    assert "has no effect on `nasrun search`" in nasrun("plan", "search", "epochs=1").refusal
    assert "no finished search to select from" in nasrun("plan", "select").refusal


def test_a_plan_that_cannot_be_ends_with_two_and_the_number(nasrun):
    answer = nasrun("plan", *WORDS, "budget.max_memory_gib=0.8001")
    assert "needs about" in answer.refusal
    assert answer.refusal.startswith("nasrun: search: budget.max_memory_gib=0.8001: ")


def test_a_limit_on_memory_counts_no_processes_of_an_engine(nasrun):
    words = [*PLANNED, "stages=[search]", "strategy=random", "budget.max_memory_gib=4"]
    assert "use engine=serial" in nasrun("plan", *words).refusal
    assert nasrun("plan", *words, "engine=serial").status == 0


@pytest.mark.parametrize(
    "searched",
    [
        ["strategy=random", "engine=serial"],
        ["strategy=random", "evaluator=inherited"],
        ["strategy=reinforce"],
        ["strategy=radars"],
        ["strategy=darts"],
    ],
    ids=" ".join,
)
def test_a_search_that_does_not_fit_is_refused_with_what_would_do(searched, nasrun, here):
    words = ["space=mobile", "depth=3", "width=8", "images=64", *searched, *FEW]
    words += ["budget.device=cpu", "budget.threads=1"]
    refusal = nasrun("search", *words, "budget.max_memory_gib=0.8001").refusal
    found = re.search(r"needs about ([\d.]+) GiB", refusal)
    assert found is not None, refusal
    assert list(here.iterdir()) == []
    enough = f"budget.max_memory_gib={found[1]}"
    assert nasrun("plan", "stages=[search]", *words, enough).status == 0


def test_a_selection_that_trains_nothing_needs_no_memory_for_training(nasrun, here):
    words = ["space=mobile", "depth=3", "width=8", "images=64", "strategy=random"]
    words += ["budget.device=cpu", "budget.threads=1", "engine=serial"]
    short = ["strategy.num_candidates=2", "strategy.evaluator.epochs=1"]
    assert nasrun("search", *words, *short).status == 0
    answer = nasrun("select", "method=fittest", "engine=serial", "budget.max_memory_gib=0.8001")
    assert answer.status == 0, answer.err


def test_workers_are_counted_each_with_a_step():
    process = Process(Budget(device="cpu", precision="fp32", threads=1, max_hours=None))
    own = process.gib
    assert process.peak(2**30) == pytest.approx(own + 1)
    assert process.peak(2**30, workers=3) == pytest.approx(4 * own + 3)


@pytest.mark.parametrize(
    ("elsewhere", "together", "candidates", "workers"),
    [(False, 4, 9, 0), (True, 4, 9, 4), (True, 9, 3, 3), (True, 99, 99, 8)],
)
def test_no_more_workers_are_foreseen_than_there_is_work(
    elsewhere, together, candidates, workers, monkeypatch
):
    class Engine:
        def side_by_side(self, cores):
            return cores

    class Elsewhere(Scores, OnEngine):
        on_engine = True

    monkeypatch.setattr(Engine, "elsewhere", elsewhere, raising=False)
    search = RandomSearch(num_candidates=candidates, together=together, evaluator=Elsewhere([]))
    budget = Budget(device="cpu", precision="fp32", threads=8, max_hours=None)
    search.begin(context(Toy(), budget=budget, engine=Engine()))
    assert search.workers == workers


def test_a_retraining_that_does_not_fit_is_refused_by_number(nasrun, here):
    words = ["retrain", "genotype=darts_v2", "space=darts", "budget.device=cpu"]
    refusal = nasrun(*words, "budget.max_memory_gib=0.81").refusal
    assert "training this network needs about" in refusal
    assert list(here.iterdir()) == []


def test_a_limit_that_nothing_meets_is_told_before_anything_begins(nasrun, here):
    for verb in ("plan", "run"):
        words = [*WORDS, "budget.max_params_m=1e-6"]
        assert "budget.max_params_m=1e-06: the cheapest" in nasrun(verb, *words).refusal
        assert list(here.iterdir()) == []


def test_a_plan_says_only_of_limits_that_can_be_met_that_they_can(nasrun):
    for verb in (["search"], ["retrain", "genotype=random"]):
        words = ["space=mobile", "depth=3", "images=64", "budget.max_params_m=1e-6"]
        answer = nasrun("plan", *verb, *words)
        assert "budget.max_params_m=1e-06: the cheapest" in answer.refusal
        assert "can be met" not in answer.out
    words = ["space=mobile", "depth=3", "images=64", "budget.max_params_m=9"]
    assert "can be met" in nasrun("plan", "search", *words).out


def test_a_plan_counts_test_images_and_reads_none(nasrun, monkeypatch):
    split = TensorDataset.split

    def without_test(dataset, *parts, device):
        assert "test" not in parts
        return split(dataset, *parts, device=device)

    monkeypatch.setattr(TensorDataset, "split", without_test)
    words = ["genotype=random", "space=mobile", "depth=3", "images=64"]
    assert rows(nasrun("plan", "retrain", *words)) == ["retrain"]


def test_a_plan_is_of_one_configuration(nasrun):
    assert "plan -m" in nasrun("plan", "-m", "seed=0,1").refusal

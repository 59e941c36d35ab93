"""Many commands from one line, and their table."""

import json
import sys
import warnings
from types import ModuleType
from typing import ClassVar

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper

from nasrun.budget import BudgetSpent
from nasrun.cli import sweep
from nasrun.cli.sweep import Axis
from nasrun.pipeline import execution


def test_a_sweep_runs_every_combination_and_closes_with_a_table(nasrun, here, small):
    words = [word for word in small if not word.startswith("rounds=")]
    answer = nasrun("search", "-m", "strategy=darts,random", "seed=0,1", "rounds=1", *words)
    assert answer.status == 0, answer.err
    found = sorted(str(path.parent.relative_to(here)) for path in here.rglob("run.json"))
    assert found == [
        f"outputs/digits-darts-{name}/{version}"
        for name in ("darts", "random-from_scratch")
        for version in ("v001", "v002")
    ]
    table = answer.out[answer.out.rindex("sweep") :]
    rows = [line.split("│") for line in table.splitlines() if line.startswith("│")]
    assert [row[3].strip() for row in rows] == ["2", "2"]
    assert all("±" in row[4] for row in rows)
    seeds = {json.loads(path.read_text())["seed"] for path in here.rglob("run.json")}
    assert seeds == {0, 1}
    assert [path.name for path in here.iterdir()] == ["outputs"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ValueError("seed=0: does not work today"), ": seed=0: does not work today"),
        (ChildProcessError("does not work today"), ": does not work today"),
        (RuntimeError("out of memory\n  at 0x0"), ": RuntimeError: out of memory"),
        (KeyError("alpha"), ": KeyError: 'alpha'"),
    ],
)
def test_a_failed_job_of_a_sweep_is_told_and_the_others_go_on(
    error, told, nasrun, here, small, monkeypatch
):
    from nasrun.pipeline import execution as pipeline

    execute = pipeline.execute

    def fails(plan, *others):
        if plan.seed == 0:
            raise error
        return execute(plan, *others)

    monkeypatch.setattr(pipeline, "execute", fails)
    words = [word for word in small if not word.startswith("rounds=")]
    answer = nasrun("search", "-m", "seed=0,1", "rounds=1", *words)
    assert answer.status == 2
    assert answer.err.endswith(f"{told}\n")
    assert "Traceback" not in answer.err
    assert len(list(here.rglob("search/result.json"))) == 1
    assert "sweep" in answer.out  # the closing table
    (journal,) = here.rglob("jobs.jsonl")
    failed, done = (json.loads(line) for line in journal.read_text().splitlines())
    assert failed["error"] in told
    assert "run" in done


@pytest.mark.parametrize(("others", "status"), [(None, 75), (ValueError("seed=1: no"), 2)])
def test_a_sweep_whose_jobs_have_no_hours_left_can_be_repeated(
    others, status, nasrun, here, small, monkeypatch
):
    errors = {0: BudgetSpent("budget.max_hours=1: spent"), 1: others}

    def ends(plan, *others):
        if errors[plan.seed] is not None:
            raise errors[plan.seed]

    monkeypatch.setattr(execution, "execute", ends)
    monkeypatch.setattr("nasrun.runs.standing.score", lambda stages: 0.0)
    assert nasrun("search", "-m", "seed=0,1", *small).status == status


def test_what_jobs_have_finished_before_they_failed_is_in_the_table(
    nasrun, here, small, short, monkeypatch
):
    from nasrun.retrain import Retrain

    def fails(self):
        raise ValueError("retrain.optimizer.lr: the training diverged")

    monkeypatch.setattr(Retrain, "run_round", fails)
    words = ("stages=[search,select,retrain]", *small, *short)
    answer = nasrun("run", "-m", "seed=0,1", *words)
    assert answer.status == 2
    (journal,) = here.rglob("jobs.jsonl")
    for line in journal.read_text().splitlines():
        search, selection = json.loads(line)["stages"]
        assert (search.endswith("/search"), selection.endswith("/select/magnitude")) == (True, True)
    table = answer.out[answer.out.rindex("sweep") :]
    assert "select magnitude" in table
    assert "retrain" not in table
    told = nasrun("report", str(journal.parent))
    assert (told.status, ": 2 runs, " in told.out) == (0, True), told.err


def test_a_training_is_in_the_table_though_the_baseline_after_it_failed(
    nasrun, here, small, short, monkeypatch
):
    from nasrun.retrain import Retrain

    run_round, begun = Retrain.run_round, []

    def fails(self):
        begun.append(self.round)
        if begun.count(0) == 2:  # of the second training
            raise ValueError("retrain.optimizer.lr: the training diverged")
        return run_round(self)

    monkeypatch.setattr(Retrain, "run_round", fails)
    words = ("stages=[search,select,retrain]", *small, *short)
    assert nasrun("run", "-m", "seed=0", *words).status == 2
    (journal,) = here.rglob("jobs.jsonl")
    record = json.loads(journal.read_text())
    assert record["stages"][-1].endswith("/retrain/magnitude")
    assert "diverged" in record["error"]


def test_a_sweep_continues_what_each_of_its_jobs_names(nasrun, here, finished, small, short):
    assert nasrun("select", "method=argmax", "budget.threads=1").status == 0
    answer = nasrun("retrain", "-m", "selector=magnitude,argmax", *short)
    assert answer.status == 0, answer.err
    retrained = {path.name for path in (finished / "retrain").iterdir()}
    assert retrained == {"magnitude", "argmax", "random"}

    assert nasrun("search", "strategy=random", "strategy.num_candidates=2", *small[1:]).status == 0
    other = finished.parents[1] / "digits-darts-random-from_scratch/v001"
    answer = nasrun("select", "-m", f"run={finished},{other}", "budget.threads=1")
    assert answer.status == 0, answer.err
    assert (other / "select/fittest/genotype.json").is_file()  # the selector of its strategy
    assert "select fittest" in answer.out[answer.out.rindex("sweep") :]

    refusal = nasrun("retrain", "-m", f"run={finished},nowhere", *short).refusal
    assert "run=nowhere: no run there" in refusal


def test_a_job_is_found_by_its_words_as_hydra_writes_them():
    words = {"lr=1e-3": "lr=0.001", "progress=false": "progress=False", "a=[b, c]": "a=[b,c]"}
    for typed, given in words.items():
        assert Axis.of(typed).values == (given,)
    assert Axis.of("hydra.job.chdir=false").values == ("hydra.job.chdir=false",)


def test_a_sweep_with_a_searchpath_of_its_own_finds_its_options(nasrun, here, small):
    (here / "conf/dataset").mkdir(parents=True)
    text = "# mine\ndefaults: [digits]\nvalidation: 0.3\n"
    (here / "conf/dataset/mine.yaml").write_text(text)
    words = ["hydra.searchpath=[file://conf]", "dataset=digits,mine", "rounds=1", *small[1:]]
    answer = nasrun("search", "-m", *words)
    assert answer.status == 0, answer.err
    assert sorted(path.name for path in (here / "outputs").glob("*-darts-darts")) == [
        "digits-darts-darts", "mine-darts-darts",
    ]  # fmt: skip
    (journal,) = here.rglob("jobs.jsonl")
    first, second = (json.loads(line) for line in journal.read_text().splitlines())
    assert first["overrides"] == ["dataset=digits", "rounds=1", *small[1:]]
    assert second["overrides"][0] == "dataset=mine"


def test_patterns_and_optimizers_of_ones_own_are_found_in_a_sweep(nasrun, here, small):
    texts = {
        "dataset/mine_a.yaml": "# mine\ndefaults: [digits]\nvalidation: 0.3\n",
        "optimizer/lion.yaml": "_target_: torch.optim.SGD\n_partial_: true\nlr: 0.3\n",
    }
    for name, text in texts.items():
        (here / "conf" / name).parent.mkdir(parents=True)
        (here / "conf" / name).write_text(text)
    own = "hydra.searchpath=[file://conf]"
    optimizer = "strategy.weight_optimizer"
    words = ["dataset=glob(mine*)", f"{optimizer}=lion", f"{optimizer}.lr=0.1,0.2", "rounds=1"]
    answer = nasrun("search", "-m", own, *words, *small[1:])
    assert answer.status == 0, answer.err
    (journal,) = here.rglob("jobs.jsonl")
    jobs = [json.loads(line)["overrides"] for line in journal.read_text().splitlines()]
    assert [job[0] for job in jobs] == ["dataset=mine_a"] * 2
    assert [job[2] for job in jobs] == [f"++{optimizer}.lr=0.1", f"++{optimizer}.lr=0.2"]


def test_a_tracker_that_the_environment_chooses_has_its_keys_in_a_sweep(
    nasrun, here, small, monkeypatch
):
    monkeypatch.setenv("NASRUN_TRACKER", "mlflow")
    monkeypatch.setattr("nasrun.pipeline.execution.execute", stop)
    answer = nasrun("search", "-m", "seed=0,1", "tracker.mlflow.uri=x", *small)
    assert answer.status == 130, answer.err


def test_a_target_that_is_no_sweeper_is_named(nasrun, here, caplog):
    for wrong in ("'a,b'", "nowhere.Sweeper", "os.getcwd", "3", ""):
        refusal = nasrun("search", "-m", "seed=0,1", f"hydra.sweeper._target_={wrong}").refusal
        assert "hydra.sweeper._target_=" in refusal
    assert caplog.records == []  # without a handler they are lines of standard error
    assert list(here.iterdir()) == []


def test_a_sweep_none_of_whose_jobs_begins_leaves_nothing(nasrun, here, small):
    words = [word for word in small if "images" not in word]
    answer = nasrun("search", "-m", *words, "images=8", "seed=0,1")
    assert answer.status == 2
    assert answer.err.count("use more images of it") == 2
    assert list(here.iterdir()) == []


def test_two_sweeps_of_one_second_have_tables_of_their_own(nasrun, here, small, monkeypatch):
    monkeypatch.setattr(sweep.time, "strftime", lambda *given: "2026-11-28/12-00-00")
    words = [word for word in small if not word.startswith("rounds=")]
    for seeds in ("0,1", "2,3"):
        answer = nasrun("search", "-m", f"seed={seeds}", "rounds=1", *words)
        (row,) = [line for line in answer.out.splitlines() if line.startswith("│")]
        assert row.split("│")[3].strip() == "2"
    folders = sorted(path.parent.name for path in here.rglob("jobs.jsonl"))
    assert folders == ["12-00-00", "12-00-00-2"]
    named = "hydra.sweep.dir='again[1]'"
    for seeds in ("0,1", "2,3"):  # of finished runs, in a folder that is named
        answer = nasrun("search", "-m", f"seed={seeds}", "rounds=1", *words, named)
        (row,) = [line for line in answer.out.splitlines() if line.startswith("│")]
        assert row.split("│")[3].strip() == "2"
    assert len((here / "again[1]/jobs.jsonl").read_text().splitlines()) == 4


def test_a_sweeps_table_has_what_its_jobs_did_and_no_more(nasrun, finished, short):
    words = [word for word in short if not word.startswith("retrain.epochs=")]
    answer = nasrun("retrain", "-m", *words, "retrain.epochs=1,3")
    assert answer.status == 0, answer.err
    table = answer.out[answer.out.rindex("sweep") :]
    rows = [line.strip("│").split("│") for line in table.splitlines() if line.startswith("│")]
    assert [(row[1].strip(), row[-1].strip()) for row in rows] == [
        ("retrain magnitude-2", "retrain.epochs=1"),
        ("retrain magnitude-3", "retrain.epochs=3"),
    ]


def test_a_sweep_finds_its_options_by_a_pattern_and_its_folder_by_any_name(nasrun, here, small):
    name = "o[/b](1)=a,'b\" {c}"
    escaped = name.replace("'", "\\'")
    answer = nasrun("search", "-m", "strategy=glob(fixed*)", *small, f"outputs='{escaped}'")
    assert answer.status == 0, answer.err
    assert (here / name / "digits-darts-fixed_alpha/v001/search/result.json").is_file()
    assert list((here / name / "sweeps").rglob("multirun.yaml"))
    assert "1 of 1  strategy=fixed_alpha rounds=2" in answer.out
    assert f"outputs='{escaped}'" in answer.out


def test_hydra_warns_of_nothing_in_a_sweep(nasrun, here, small, monkeypatch):
    told = []

    def warn(message, category, filename, *more):
        told.append(f"{category.__name__} {filename}: {message}")

    monkeypatch.setattr("nasrun.cli.screen.warn", warn)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        answer = nasrun("search", "-m", "strategy=fixed_alpha", "seed=0", "rounds=1", *small[1:])
    assert answer.status == 0, answer.err
    assert [line for line in told if "hydra" in line.lower() or "omegaconf" in line.lower()] == []


class Judge(Sweeper):
    """Draws two values, as a sweeper of hyper-parameters does, and goes on after a failure."""

    told: ClassVar[list[object]] = []

    def __init__(self, direction, max_failure_rate):
        self.options = (direction, max_failure_rate)

    def setup(self, *, hydra_context, task_function, config):
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments):
        Judge.told.append(self.options)
        fixed = [word for word in arguments if not word.startswith("retrain.epochs=")]
        for number, epochs in enumerate((2, 1)):
            # the drawn one in front, as Optuna's plugin has it
            job = [f"retrain.epochs={epochs}", *fixed]
            (returned,) = self.launcher.launch([job], initial_job_idx=number)
            Judge.told.append(returned._return_value)


@pytest.fixture
def judge(monkeypatch):
    """The sweeper, as an installed plugin."""
    module = ModuleType("hydra_plugins.judge")
    module.Judge = Judge
    package = sys.modules.get("hydra_plugins") or ModuleType("hydra_plugins")
    monkeypatch.setitem(sys.modules, "hydra_plugins", package)
    monkeypatch.setitem(sys.modules, "hydra_plugins.judge", module)
    monkeypatch.setattr(package, "judge", module, raising=False)
    monkeypatch.setattr(Judge, "__module__", "hydra_plugins.judge")
    known = Plugins.instance().class_name_to_class
    monkeypatch.setitem(known, "hydra_plugins.judge.Judge", Judge)
    monkeypatch.setattr(Judge, "told", [])
    node = {
        "_target_": "hydra_plugins.judge.Judge",
        "direction": "minimize",
        "max_failure_rate": 0.0,
    }
    store = ConfigStore.instance()
    if "judge.yaml" not in store.list("hydra/sweeper"):  # Hydra 1.4 wants a name stored once
        store.store(group="hydra/sweeper", name="judge", node=node)
    return Judge


def test_a_sweeper_that_draws_is_told_of_a_failure_and_goes_on(
    nasrun, finished, judge, monkeypatch, short
):
    execute = execution.execute

    def fails(plan, *others):
        if plan.retrain.epochs == 2:
            raise RuntimeError("diverged")
        return execute(plan, *others)

    monkeypatch.setattr(execution, "execute", fails)
    words = [word for word in short if not word.startswith("retrain.epochs=")]
    words += ["retrain.epochs=interval(1,2)", "retrain.data=train", "hydra/sweeper=judge"]
    answer = nasrun("retrain", "-m", *words)
    options, failure, accuracy = judge.told
    assert options == ("maximize", 1.0)
    assert "diverged" in str(failure)
    assert 0 <= accuracy <= 1
    assert answer.status == 2
    assert answer.err.splitlines()[-1].endswith("retrain.data=train: RuntimeError: diverged")
    assert answer.out.startswith("1  retrain.epochs=2 retrain.channels=2")
    assert "nan" not in answer.out
    table = answer.out[answer.out.rindex("sweep") :]
    assert len([line for line in table.splitlines() if "retrain magnitude-2" in line]) == 1


def test_a_sweeper_that_draws_is_not_given_what_it_cannot_judge(nasrun, finished, judge, short):
    words = [word for word in short if not word.startswith("retrain.epochs=")]
    answer = nasrun("retrain", "-m", *words, "retrain.epochs=1,2", "hydra/sweeper=judge")
    assert answer.status == 2
    assert all("use retrain.data=train" in str(told) for told in judge.told[1:])
    assert len(judge.told) == 3


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            "seed=interval(0,1)",
            "seed=interval(0,1): this needs another sweeper",
        ),
        ("seed=range(0,0)", "seed=range(0,0): has no values; name one or more"),
        ("seed=range(0,1,0)", "seed=range(0,1,0): range() arg 3 must not be zero; name other"),
        ("strategy=glob(x*)", "strategy=glob(x*): matches no option of strategy; there are "),
        ("seed=glob(*)", "seed=glob(*): matches no option of seed, which has none"),
        ("strategy=a(b", "strategy=a(b: cannot be read; quote special characters"),
        ("seed=0,1 hydra/launcher=nope", "hydra/launcher=nope: unknown option; there are basic"),
        ("seed=0,1 hydra.job.chdir=true", "hydra.job.chdir=true: jobs stay in the current folder"),
        ("seed=0,1 hydra.run.dir=x", "hydra.run.dir=x: has no effect"),
        ("seed=0,1 hydra.sweeper.max_batch_size=0", "max_batch_size=0: use 1 or more"),
        ("seed=0,1 hydra.sweep.dir=/proc/x", "hydra.sweep.dir=/proc/x: cannot be made (No"),
    ],
)
def test_words_that_no_sweeper_reads_leave_nothing(nasrun, here, words, expected):
    assert expected in nasrun("search", "-m", *words.split()).refusal
    assert list(here.iterdir()) == []


def test_a_sweep_stopped_before_its_table_has_it_when_it_is_repeated(
    nasrun, here, small, monkeypatch
):
    """The last line of its journal is half there, as a loss of power leaves it."""
    words = [word for word in small if not word.startswith("rounds=")]
    words = ["search", "-m", "seed=0,1", "rounds=1", *words, "hydra.sweep.dir=named"]
    with monkeypatch.context() as patch:
        patch.setattr("nasrun.runs.comparison.print_runs", stop)
        assert nasrun(*words).status == 130
    journal = here / "named/jobs.jsonl"
    first, second = journal.read_text().splitlines()
    journal.write_text(f"{first}\n{second[:50]}")
    answer = nasrun(*words)
    assert answer.status == 0, answer.err
    (row,) = [line for line in answer.out.splitlines() if line.startswith("│")]
    assert row.split("│")[3].strip() == "2"
    jobs = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [job["overrides"][0] for job in jobs] == ["seed=0", "seed=0", "seed=1"]
    assert sorted(path.name for path in (here / "named").iterdir()) == [
        "jobs.jsonl", "jobs.lock", "multirun.yaml",
    ]  # fmt: skip


def stop(*given, **words):
    raise KeyboardInterrupt

"""Many commands from one line, and their table."""

import json

import pytest


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
        (ChildProcessError("does not work today"), ": files: does not work today"),
        (RuntimeError("out of memory\n  at 0x0"), ": RuntimeError: out of memory"),
        (KeyError("alpha"), ": KeyError: 'alpha'"),
    ],
)
def test_a_failed_job_of_a_sweep_is_told_and_the_others_go_on(
    error, told, nasrun, here, small, monkeypatch
):
    from nasrun.pipeline import execution as pipeline

    execute = pipeline.execute

    def fails(plan, console):
        if plan.seed == 0:
            raise error
        return execute(plan, console)

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


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            "seed=interval(0,1)",
            "seed=interval(0,1): values are drawn by another",
        ),
        ("seed=range(0,0)", "seed=range(0,0): has no values; name one or more"),
        ("strategy=glob(fixed*)", "strategy=glob(fixed*): is not read; list the options"),
        ("seed=0,1 hydra.sweeper.max_batch_size=0", "max_batch_size=0: use 1 or more"),
        ("seed=0,1 hydra.sweep.dir=/proc/x", "/proc/x: No such file or directory"),
    ],
)
def test_words_that_no_sweeper_reads_leave_nothing(nasrun, here, words, expected):
    assert expected in nasrun("search", "-m", *words.split()).refusal
    assert list(here.iterdir()) == []

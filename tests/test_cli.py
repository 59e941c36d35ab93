"""The command line: quick where nothing trains, one clear line for wrong input, nothing left."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nasrun.cli.verbs import VERBS

# command | words that the one line of refusal must have
REFUSED = {
    "unknown verb": ("serach", "serach: unknown verb, did you mean search?"),
    "no verb at all like it": ("fly", "fly: unknown verb; the verbs are run, search"),
    "a key in place of a verb": ("strategy=darts", "strategy=darts: unknown verb"),
    "unknown verb to plan": ("plan serach", "plan serach: unknown verb, did you mean search?"),
    "plan of no verb": ("plan list", "plan list: unknown verb; it foresees run, search, select"),
    "unknown flag": ("search --multrun", "--multrun: unknown flag, did you mean --multirun?"),
    "unknown group": ("search stratgy=darts", "stratgy=darts: unknown key, did you mean strategy?"),
    "unknown option": (
        "search strategy=dart",
        "strategy=dart: unknown option, did you mean darts?",
    ),
    "unlike any option": (
        "search strategy=xyzzy",
        "strategy=xyzzy: unknown option; there are darts",
    ),
    "unknown method": (
        "select method=pertub",
        "selector=pertub: unknown option, did you mean pert",
    ),
    "unknown key": ("search round=3", "round=3: unknown key, did you mean rounds?"),
    "unlike any key": ("search xyzzy=3", "xyzzy=3: unknown key"),
    "an added key": ("search +xyzzy=3", "+xyzzy=3: unknown key"),
    "nested key": (
        "search space.chanels=4",
        "space.chanels=4: unknown key, did you mean space.chan",
    ),
    "key of another option": ("search strategy.level.lam=1", "strategy.level.lam=1: unknown key"),
    "key in an optimizer": (
        "search strategy.weight_optimizer.lrr=1",
        "strategy.weight_optimizer.lrr=1: unknown key, did you mean strategy.weight_optimizer.lr?",
    ),
    "added key in an optimizer": (
        "search +strategy.weight_optimizer.momentom=0",
        "strategy.weight_optimizer.momentom=0: torch.optim.SGD has no such keyword, did you mean",
    ),
    "key in an augmentation": (
        "run retrain.task.augment.cutot=0",
        "did you mean retrain.task.augm",
    ),
    "malformed override": ("search rounds", "rounds: expected key=value"),
    "malformed value": ("search rounds=[1", "rounds=[1: cannot be read; quote"),
    "text for a whole number": ("search rounds=abc", "rounds"),
    "fraction for a whole number": ("search seed=1.5", "seed"),
    "text for a whole number, nested": (
        "search strategy.rounds=abc",
        "strategy.rounds=abc: expected a whole number",
    ),
    "fraction for a whole number, nested": (
        "search space.nodes=1.5",
        "space.nodes=1.5: expected a wh",
    ),
    "text for a rate": (
        "search strategy.weight_optimizer.lr=abc",
        "strategy.weight_optimizer.lr=abc: expected a number",
    ),
    "number for a list": (
        "search space.operations=3",
        "space.operations=3: expected a list of a text",
    ),
    "text for an object": ("search strategy.level=abc", "strategy.level=abc: expected Level"),
    "text for a switch": ("run baseline=maybe", "baseline"),
    "unknown word of a few": (
        "search space.stem=big",
        "space.stem=big: expected cifar or cifar_half",
    ),
    "unknown device": (
        "search budget.device=gpu",
        "budget.device=gpu: expected auto or cpu or cuda",
    ),
    "unknown operation": ("search space.operations=[conv9]", "space.operations: conv9 is unknown"),
    "unknown edge": ("search +space.choices.x=[none]", "space.choices: x is no edge"),
    "negative rounds": ("search rounds=-1", "rounds=-1: at least 1"),
    "negative rounds, nested": ("search strategy.rounds=-1", "strategy.rounds=-1: at least 1"),
    "negative seed": ("search seed=-1", "seed=-1: at least 0"),
    "no number": (
        "search strategy.weight_optimizer.lr=nan",
        "strategy.weight_optimizer.lr=nan: expected a finite number",
    ),
    "endless weights": (
        "search budget.max_params_m=inf",
        "budget.max_params_m=inf: expected a finite number",
    ),
    "negative rate": ("search alpha_lr=-1", "alpha_lr=-1.0: more than 0"),
    "negative rate of an optimizer": (
        "search strategy.weight_optimizer.lr=-1",
        "strategy.weight_optimizer: Invalid learning rate: -1",
    ),
    "negative momentum": (
        "run retrain.optimizer.momentum=-1",
        "retrain.optimizer: Invalid momentum",
    ),
    "empty batches": ("search batch_size=0", "batch_size=0: at least 2"),
    "no images": ("search images=0", "images=0: at least 1"),
    "odd width": ("search width=3", "space.channels=3: an even number"),
    "shallow": ("search depth=2", "depth=2: at least 3"),
    "no epochs": ("run retrain.epochs=0", "retrain.epochs=0: at least 1"),
    "no transfer epochs": ("run transfer.epochs=0", "epochs=0: 0 < decay <= 1, epochs from 1 on"),
    "drop path of one": ("run retrain.drop_path=1", "retrain.drop_path=1: from 0 to below 1"),
    "no threads": ("search budget.threads=0", "budget.threads=0: at least 1"),
    "negative hours": ("search budget.max_hours=-1", "budget.max_hours=-1: more than 0"),
    "no tuning": ("run selector=perturb selector.interval=0", "selector.interval=0: at least 1"),
    "validation of all": ("search dataset.validation=1", "dataset.validation=1: a fraction"),
    "temperature": ("search strategy=snas strategy.relaxation.tau_end=-1", "relaxation.tau_end=-1"),
    "padding": ("search task.augment.padding=-1", "task.augment.padding=-1"),
    "selector without its supernet": (
        "run selector=perturb strategy=random",
        "selector=perturb: needs a supernet, and strategy=random leaves scored candidates; "
        "use selector=fittest",
    ),
    "selector without candidates": (
        "run selector=fittest",
        "use selector=magnitude, argmax, perturb, f",
    ),
    "stages without their first": (
        "run stages=[select]",
        "stages=[select]: a run begins with search",
    ),
    "stages with a gap": ("run stages=[search,retrain]", "stages=[search,retrain]: a run begins"),
    "unknown stage": ("run stages=[serach]", "stages: unknown stage serach, did you mean search?"),
    "no stages": ("run stages=[]", "stages=[]: a run begins with search"),
    "group left out": ("run transfer=null", "transfer=null: needed; leave a stage out"),
    "keys of a stage left out": (
        "run stages=[search] epochs=9",
        "epochs=9: has no effect with stages=[search]; leave it out, or add retrain to the stages",
    ),
    "selector of a stage left out": (
        "run stages=[search] method=perturb",
        "selector=perturb: has no effect with stages=[search]; leave it out, or add select",
    ),
    "transfer left out": (
        "run stages=[search,select,retrain] transfer.epochs=3",
        "transfer.epochs=3: has no effect with stages=[search,select,retrain]",
    ),
    "baseline of a retraining left out": (
        "run stages=[search,select] baseline=false",
        "baseline=false: has no effect with stages=[search,select]",
    ),
    "retraining that an experiment leaves out": (
        "run experiment=radars_memory dataset=digits retrain.layers=7",
        "retrain.layers=7: has no effect with stages=[search]",
    ),
    "epochs of a retraining left out within limits": (
        "run stages=[search] budget.max_params_m=1 epochs=9",
        "epochs=9: has no effect with stages=[search]",
    ),
    "stage left out of a sweep": (
        "run -m stages=[search] epochs=8,9",
        "epochs=8: has no effect with stages=[search]",
    ),
    "selector on a search": (
        "search selector=argmax",
        "has no effect on `nasrun search`, type it on",
    ),
    "retraining on a search": (
        "search retrain.epochs=2",
        "retrain.epochs=2: has no effect on `nasrun",
    ),
    "stages on a search": ("search stages=[search]", "has no effect on `nasrun search`"),
    "engine on a retraining": (
        "retrain genotype=darts_v2 engine=serial",
        "has no effect on `nasrun retrain`, type it on `search`",
    ),
    "epochs of another recipe": (
        "retrain genotype=darts_v2 retrain=cifar epochs=3",
        "epochs=3: has no effect, retrain=cifar has epochs of its own; type retrain.epochs=3",
    ),
    "latencies without a limit": (
        "search budget.latency_table=there.json",
        "latency_table=there.json: has no effect without max_latency_ms",
    ),
    "epochs of a transfer": ("transfer genotype=darts_v2 epochs=3", "epochs=3: has no effect on"),
    "limits on a transfer": (
        "transfer genotype=darts_v2 budget.max_params_m=1",
        "budget.max_params_m=1: has no effect on `nasrun transfer`",
    ),
    "images of a transfer": (
        "transfer genotype=darts_v2 transfer.dataset.images=5",
        "a higher transfer.dataset.images",
    ),
    "selection of another number of cell types": (
        "run space=nasbench201 selector=at_least selector.size=[1,1]",
        "selector.size=[1, 1]: 1 numbers",
    ),
    "healthy without a watchdog": (
        "run selector=healthy strategy.watchdog=null",
        "selector=healthy: the search has strategy.watchdog=null",
    ),
    "more images to judge by than there are": (
        "run selector=perturb selector.judge.images=4000",
        "selector.judge.images=4000: of 360 images; at most all of them",
    ),
    "an early stop inside radars": (
        "search strategy=radars strategy.inner.watchdog.on_collapse=stop",
        "inner.watchdog.on_collapse=stop: RADARS exploits for all its rounds; warn would",
    ),
    "an edge without an operation": (
        "search +space.choices={normal/2-0:[none]}",
        "space.choices: normal/2-0 needs an operation other than none",
    ),
    "genotype on a search": ("search genotype=darts_v2", "has no effect on `nasrun search`"),
    "search setting beside a genotype": (
        "retrain genotype=darts_v2 strategy=snas",
        "strategy=snas: has no effect beside genotype=",
    ),
    "missing folder": (
        "search dataset=image_folder dataset.root=nowhere",
        "dataset.root=nowhere: there is no such folder",
    ),
    "missing transfer folder": (
        "run transfer=folder transfer.dataset.root=nowhere",
        "transfer.dataset.root=nowhere: there is no such folder",
    ),
    "no folder given": ("search dataset=image_folder", "dataset.root: has no default"),
    "no transfer folder given": ("run transfer=imagenet", "transfer.dataset.root: has no default"),
    "nothing downloaded": ("search dataset=cifar10", "dataset.download=true"),
    "nothing to select from": ("select", "no finished search to select from, type `nasrun search`"),
    "nothing to retrain": ("retrain", "no selected genotype, type `nasrun select` first"),
    "nothing to transfer": ("transfer outputs=there", "outputs=there: no selected genotype"),
    "no run": ("select run=nowhere", "run=nowhere: no run there, `nasrun list runs` shows"),
    "no run to export": ("export nowhere", "run=nowhere: no run there"),
    "no run to show": ("show nowhere", "run=nowhere: no run there"),
    "export of nothing": ("export", "export: takes one run's folder"),
    "unknown format": ("export x format=tflite", "format=tflite: use onnx"),
    "unknown genotype": (
        "retrain genotype=darts_v3",
        "genotype=darts_v3: neither a published cell nor",
    ),
    "unknown genotype to show": ("show genotype=xyzzy", "nor a file; there are darts_pt_s5_0, "),
    "genotype of another space": (
        "retrain genotype=darts_v2 space.nodes=2",
        "genotype=darts_v2: space=darts does not fit",
    ),
    "unknown network": (
        "show genotype=darts_v2 network=cifra",
        "network=cifra: unknown network, did",
    ),
    "unknown table": ("show genotype=darts_v2 format=xml", "format=xml: use table or json"),
    "show of nothing": ("show", "show: takes a run's folder or genotype=NAME"),
    "unknown key of show": (
        "show genotyp=darts_v2",
        "genotyp: unknown key, did you mean genotype?",
    ),
    "nothing to list": ("list strategie", "strategie: nothing to list, did you mean strategy?"),
    "unknown key of list": ("list runs output=x", "output: unknown key, did you mean outputs"),
    "runs among groups": ("list runs strategy", "runs are listed alone"),
    "two runs to show": ("show a b", "show: takes a run's folder or genotype=NAME"),
    "nothing to print": ("search --cfg", "--cfg nothing: expected one of job, hydra, all"),
    "unknown thing to print": ("search --info xyzzy", "--info xyzzy: expected one of all, config"),
    "flag without a flag": ("search --resolve", "--resolve: has no effect without --cfg job"),
    "two options of a group": ("search dataset=[digits,mnist5k]", "one option; several need -m"),
    "new key in a mapping": ("search space.choices={x:[none]}", "a new one is added by + in front"),
    "endless rate": ("search alpha_lr=inf", "alpha_lr=inf: more than 0"),
    "share of nothing": ("search task.share=0.001", "share=0.001: 1 of 1077 images are left"),
    "outputs in a file": (f"search outputs={__file__}", "test_cli.py is no folder"),
    "no package's name": ("search trust=[../x]", "trust=[../x]: expected the name of a package"),
    "package that is not there": ("search trust=[nopackage]", "trust=[nopackage]: no such package"),
    "target outside": (
        "search strategy._target_=os.system",
        "os.system: not trusted; code outside",
    ),
    "target that is not there": (
        "search strategy._target_=nasrun.strategies.differentiable.Differentable",
        "has no Differentable, did you mean Differentiable?",
    ),
    "sweep with one bad value": ("search -m strategy=darts seed=0,-1", "seed=-1: at least 0"),
    "sweep with one bad option": ("search -m strategy=darts,dart", "strategy=dart: unknown option"),
    "sweep with a bad key": ("search -m seed=0,1 round=2", "round=2: unknown key"),
    "sweep over an impossible pair": (
        "run -m selector=perturb strategy=darts,random",
        "selector=perturb: needs a supernet",
    ),
}


@pytest.mark.parametrize(("command", "expected"), REFUSED.values(), ids=REFUSED)
def test_wrong_input_is_one_line_and_leaves_nothing(nasrun, here, command, expected):
    assert expected in nasrun(*command.split()).refusal
    assert list(here.iterdir()) == []


def test_help_names_every_verb_and_every_verb_has_its_own(nasrun):
    text = nasrun("--help").out
    assert all(f"\n  {verb} " in text for verb in VERBS)
    assert nasrun().out == text
    for verb in VERBS:
        answer = nasrun(verb, "--help")
        assert answer.status == 0
        assert answer.out.startswith(f"nasrun {verb}: ")
        assert f"nasrun {verb}" in answer.out.partition("\n")[2]
    assert "perturb" in nasrun("select", "--help").out
    assert "retrain" not in nasrun("search", "--help").out.partition("groups")[2]
    assert nasrun("--version").out.startswith("nasrun 0")


def test_a_list_says_what_each_option_is(nasrun):
    text = " ".join(nasrun("list", "strategy").out.split())
    for option in ("darts", "darts_2nd", "snas", "milenas", "random"):
        assert option in text
    assert "1812.09926" in text
    everything = nasrun("list").out
    assert all(name in everything for name in ("perturb", "mnist5k", "imagenet", "darts_v2"))
    assert "darts_v2" in nasrun("list", "genotype").out
    assert "smoke" in nasrun("list", "experiment").out


QUICK = [
    ["--help"],
    ["list"],
    ["list", "strategy"],
    ["list", "runs"],
    ["search", "--help"],
    ["serach"],
    ["search", "strategy=dart"],
    ["search", "strategy.weight_optimizer.lrr=1"],
    ["retrain", "method=dart"],
    ["run", "transfer.dataset.siz=3"],
    ["search", "space.nodes=abc"],
    ["search", "strategy.level=abc"],
    ["search", "strategy.weight_optimizer=null"],
    ["search", "+strategy.weight_optimizer.momentom=0"],
    ["run", "transfer.dataset.size=big"],
    ["run", "selector.rule._target_=nasrun.runs.run.write_json"],
    ["retrain", "genotype=darts_v2", "retrain.layers=1.5"],
]
PROBE = """
import json, sys, time
from nasrun.cli.main import main
for words in json.loads(sys.argv[1]):
    begun = time.perf_counter()
    try:
        main(words)
    except SystemExit as end:
        print(json.dumps([words, end.code, time.perf_counter() - begun, "torch" in sys.modules]))
"""


def test_what_does_not_train_does_not_import_torch(here):
    """The seconds are printed for a reader; a busy machine may not fail a test."""
    asked = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(QUICK)],
        capture_output=True,
        text=True,
        check=True,
    )
    answers = [json.loads(line) for line in asked.stdout.splitlines() if line.startswith("[[")]
    assert [answer[0] for answer in answers] == QUICK
    for words, status, seconds, torch in answers:
        print(f"{seconds:.2f} s  nasrun {' '.join(words)}")
        assert status == (0 if words[0] in ("--help", "list") or "--help" in words else 2), words
        assert not torch, words
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-m", "nasrun", "search", "strategy=dart"], check=False)
    print(f"{time.perf_counter() - begun:.2f} s  a mistyped option, from start to end")
    assert list(here.iterdir()) == []


def test_method_is_another_name_of_selector(nasrun, finished):
    words = ["budget.threads=1", "selector.weight_lr=0.01"]
    assert nasrun("select", "method=argmax", "budget.threads=1").status == 0
    assert (finished / "select/argmax/genotype.json").is_file()
    assert "selector.weight_lr" in nasrun("select", "method=argmax", *words).refusal


def test_a_finished_command_prints_its_result_at_once(nasrun, finished, small, short, moved):
    before = {path: path.read_bytes() for path in finished.rglob("*.jsonl")}
    states = {path: path.stat().st_mtime_ns for path in finished.rglob("state*.pt")}
    assert len(before) >= 6
    assert states
    answer = nasrun("run", *small, *short, *moved)
    assert answer.status == 0
    assert "round" not in answer.out
    for words in ("search", "select magnitude", "retrain magnitude", "retrain random", "transfer"):
        rows = [line for line in answer.out.splitlines() if line.startswith("│")]
        assert any(all(word in row for word in words.split()) for row in rows), words
    assert {path: path.read_bytes() for path in before} == before
    assert {path: path.stat().st_mtime_ns for path in states} == states


@pytest.mark.parametrize(("network", "params"), [("cifar", 3_349_342), ("imagenet", 4_718_752)])
def test_show_counts_the_published_parameters(nasrun, here, network, params, pictures):
    words = ["show", "genotype=darts_v2", f"network={network}", "format=json", "out=pictures"]
    record = json.loads(nasrun(*words).out)
    assert record["params"] == params
    assert record["macs"] > 5e8
    assert len(record["pictures"]) >= 2
    assert all((here / path).stat().st_size > 1000 for path in record["pictures"])


def test_show_prints_a_runs_report_and_names_its_pictures(nasrun, finished, pictures):
    answer = nasrun("show", finished)
    assert answer.status == 0
    text = answer.out
    assert "magnitude" in text
    assert "random" in text
    assert "magnitude-mnist5k" in text
    assert "parameters" in text
    assert "select/magnitude/cells.svg" in "".join(text.split())
    record = json.loads(nasrun("show", finished, "format=json").out)
    assert {row["branch"] for row in record["report"]} == {"magnitude", "random"}


def test_list_runs_groups_seeds(nasrun, finished, small):
    words = [word for word in small if not word.startswith("rounds=")]
    for seed in (0, 1, 2):
        assert nasrun("search", "rounds=1", *words, f"seed={seed}").status == 0
    table = nasrun("list", "runs").out
    rows = [line.split("│") for line in table.splitlines() if line.startswith("│")]
    rows = [[cell.strip() for cell in row[1:-1]] for row in rows]
    searches = {row[0]: row for row in rows if row[1] == "search"}
    assert len(searches) == 2
    one, three = sorted(searches.values(), key=lambda row: int(row[2]))
    assert one[2] == "1"
    assert "±" not in one[3]
    assert three[2] == "3"
    assert "±" in three[3]
    assert {row[1] for row in rows} == {
        "search", "select magnitude", "retrain magnitude", "retrain random",
        "transfer magnitude-mnist5k",
    }  # fmt: skip


def test_a_sweep_runs_every_combination_and_closes_with_a_table(nasrun, here, small):
    words = [word for word in small if not word.startswith("rounds=")]
    answer = nasrun("search", "-m", "strategy=darts,random", "seed=0,1", "rounds=1", *words)
    assert answer.status == 0, answer.err
    found = sorted(str(path.parent.relative_to(here)) for path in here.rglob("run.json"))
    assert found == [
        f"outputs/digits-darts-{name}/{v}" for name in ("darts", "random") for v in ("v001", "v002")
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


def test_limits_may_come_with_the_layout_that_they_are_counted_in(nasrun, small):
    words = ["stages=[search]", "retrain.layers=7", "budget.max_params_m=9", *small]
    assert nasrun("run", *words).status == 0


def test_cfg_prints_the_resolved_configuration_and_runs_nothing(nasrun, here):
    answer = nasrun("search", "--cfg", "job", "strategy=snas", "rounds=7")
    assert answer.status == 0
    assert nasrun("search", "--cfg=job", "strategy=snas", "rounds=7").out == answer.out
    assert "rounds: 7" in answer.out
    assert "tau_end: 0.03" in answer.out
    assert "--multirun, --cfg" in nasrun("search", "-m", "--cfg", "job", "seed=0,1").refusal
    assert list(here.iterdir()) == []


def completed(line):
    """What the shell is offered for a line."""
    environment = {**os.environ, "COMP_LINE": line, "COMP_POINT": str(len(line))}
    asked = subprocess.run(
        [Path(sys.executable).with_name("nasrun"), "-sc", "query=bash"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return asked.stdout.split()


@pytest.mark.parametrize(
    ("line", "some"),
    [
        ("nasrun se", {"search", "select"}),
        ("nasrun ", set(VERBS)),
        ("nasrun search strat", {"strategy="}),
        ("nasrun search strategy=", {"strategy=darts", "strategy=snas", "strategy=random"}),
        ("nasrun search strategy.weight_opt", {"strategy.weight_optimizer."}),
        ("nasrun select method=", {"method=perturb", "method=magnitude"}),
        ("nasrun select method=per", {"method=perturb"}),
        ("nasrun plan retrain epo", {"epochs="}),
        ("nasrun plan retr", {"retrain"}),
        ("nasrun list str", {"strategy"}),
    ],
)
def test_the_shell_completes(here, line, some):
    offered = set(completed(line))
    assert some <= offered
    word = line.split(" ")[-1]
    assert all(choice.startswith(word) for choice in offered), offered


def test_the_shell_gets_a_script(here):
    script = subprocess.run(
        [Path(sys.executable).with_name("nasrun"), "-sc", "install=bash"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "complete" in script
    assert "nasrun" in script
    subprocess.run(["bash", "-n", "-c", script], check=True)


def test_a_reader_that_stops_reading_is_no_error(here):
    ended = subprocess.run(
        ["bash", "-o", "pipefail", "-c", f"'{sys.executable}' -m nasrun list | head -1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.stderr == ""
    assert "space" in ended.stdout

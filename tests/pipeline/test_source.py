"""The results that a later verb continues and inherits, and the overrides that it refuses."""

import json
import os
import shutil

import yaml
from golden import write_table

from nasrun.pipeline.named_files import located


def test_later_verbs_continue_the_newest_run_or_the_one_that_is_named(nasrun, here, finished):
    words = "rounds=1 images=64 width=2 depth=3 space.nodes=1 space.kept_edges=1 batch_size=32"
    other = nasrun("search", "strategy=snas", *words.split(), "budget.threads=1")
    assert other.status == 0
    assert "digits-darts-snas/v001" in nasrun("select", "budget.threads=1").out
    assert (here / "outputs/digits-darts-snas/v001/select/argmax/genotype.json").is_file()
    answer = nasrun("select", f"run={finished}", "method=argmax", "budget.threads=1")
    assert "digits-darts-darts/v001" in answer.out
    os.utime(here / "outputs/digits-darts-snas/v001/run.json", ns=(2**62, 2**62))
    answer = nasrun("select", "method=magnitude", "budget.threads=1")
    assert "digits-darts-snas/v001" in answer.out
    assert (here / "outputs/digits-darts-snas/v001/select/magnitude").is_dir()


def test_a_branch_is_named_by_its_folder_or_its_selector(nasrun, finished, short):
    nasrun("select", "method=argmax", "budget.threads=1")
    nasrun("retrain", "selector=magnitude", *short, "retrain.epochs=1")
    assert (finished / "retrain/magnitude-2/result.json").is_file()
    assert not (finished / "retrain/argmax").exists()
    nasrun("retrain", f"run={finished}/select/argmax", *short, "retrain.epochs=1")
    assert (finished / "retrain/argmax/result.json").is_file()
    assert "no selected genotype of selector=perturb" in nasrun("retrain", "method=perturb").refusal


def test_an_upstream_value_may_be_repeated_but_not_changed(nasrun, finished):
    given = ["strategy=darts", "seed=0", "width=2", "space.nodes=1", "rounds=2", "dataset=digits"]
    assert nasrun("select", *given, "budget.threads=1").status == 0
    for word, theirs in {
        "strategy=snas": "strategy=darts",
        "seed=3": "seed=0",
        "width=4": "width=2",
        "space.nodes=2": "space.nodes=1",
        "dataset=mnist5k": "dataset=digits",
        "strategy.weight_optimizer.lr=0.5": "strategy.weight_optimizer.lr=0.025",
        "images=null": "images=64",
    }.items():
        refusal = nasrun("select", word).refusal
        assert word in refusal
        assert f"with {theirs}" in refusal
        assert str(finished) in refusal


def test_a_run_that_is_continued_by_name_keeps_its_threads(nasrun, finished):
    (finished / "search/result.json").unlink()
    assert nasrun("search", f"run={finished}").status == 0  # budget.threads=1, as it was searched
    (finished / "search/result.json").unlink()
    refusal = nasrun("search", f"run={finished}", "budget.threads=3").refusal
    assert "budget.threads=3" in refusal
    assert "budget.threads=1" in refusal


def test_what_cannot_be_compared_is_refused_and_so_is_another_branch(nasrun, finished):
    refusal = nasrun("select", "+strategy@strategy.inner=snas", f"run={finished}").refusal
    assert "is searched already" in refusal
    refusal = nasrun("retrain", f"run={finished}/select/magnitude", "selector=argmax").refusal
    assert "selector=argmax" in refusal
    assert "the choice of another selector" in refusal


def test_a_search_does_not_go_on_within_other_limits(nasrun, finished):
    (finished / "search/result.json").unlink()
    refusal = nasrun("search", f"run={finished}", "budget.max_params_m=0.1").refusal
    assert "budget.max_params_m=0.1: " in refusal
    assert "budget.max_params_m=null" in refusal


def test_a_search_that_took_too_much_memory_goes_on_with_more(nasrun, here, small, monkeypatch):
    """In the same folder, with the bytes of one that was never stopped; by either way to go on."""
    whole = nasrun("search", *small, "outputs=whole")
    assert whole.status == 0
    monkeypatch.setattr("nasrun.budget.memory_gib", lambda: 5.0)
    for number, more in enumerate(([*small], ["run={run}"])):
        outputs = here / str(number)
        run = outputs / "digits-darts-darts/v001"
        limited = nasrun("search", *small, f"outputs={outputs}", "budget.max_memory_gib=4")
        assert "budget.max_memory_gib=4: 5.00 GiB were needed; allow more" in limited.refusal
        assert len((run / "search/metrics.jsonl").read_text().splitlines()) == 1
        words = [word.format(run=run) for word in more]
        again = nasrun("search", *words, f"outputs={outputs}", "budget.max_memory_gib=6")
        assert again.status == 0, again.err
        assert [path.name for path in run.parent.glob("v*")] == ["v001"]
        for name in ("config.yaml", "search/metrics.jsonl"):
            same = here / "whole/digits-darts-darts/v001" / name
            assert (run / name).read_bytes() == same.read_bytes()


def test_what_fits_into_less_memory_is_another_search_of_radars(nasrun, here, small):
    words = [*small, "space=mobile", "strategy=radars", "budget.max_hours=1e-9"]
    words = [word for word in words if not word.startswith("space.")]
    for limit in (4, 6):
        assert nasrun("search", *words, f"budget.max_memory_gib={limit}").status == 75  # of hours
    family = here / "outputs/digits-mobile-radars"
    assert sorted(path.name for path in family.glob("v*")) == ["v001", "v002"]
    refusal = nasrun("search", f"run={family}/v001", "budget.max_memory_gib=6").refusal
    assert "is searched with budget.max_memory_gib=4" in refusal


def test_an_unfinished_search_of_an_earlier_version_noted_its_limit_on_memory(nasrun, finished):
    (finished / "search/result.json").unlink()
    config = finished / "config.yaml"
    lines = [line for line in config.read_text().splitlines() if not line.startswith("check:")]
    config.write_text("\n".join(lines).replace("  threads: 1", "  threads: 1\n  max_memory_gib: 4"))
    assert "max_memory_gib" in config.read_text()
    assert nasrun("search", f"run={finished}", "budget.max_memory_gib=7").status == 0


def test_a_run_whose_configuration_does_not_fit_is_refused_by_name(nasrun, finished):
    config = finished / "config.yaml"
    content = yaml.safe_load(config.read_text())
    del content["strategy"]["batch_size"], content["check"]
    config.write_text(yaml.safe_dump(content))
    refusal = nasrun("select", "budget.threads=1").refusal
    assert f"{finished}: its configuration does not fit this version" in refusal
    assert "strategy.batch_size" in refusal
    assert refusal.endswith("search again, or use that version")


def test_a_limited_search_reads_the_layout_of_a_recipe_and_no_more(nasrun, small, finished):
    limits = ["budget.max_params_m=1e-6", "retrain.layers=3"]
    for verb, words in (("search", small), ("select", [])):
        for word in ("retrain=cifar", "retrain.channels=8", "retrain.stem=imagenet"):
            assert "the cheapest network" in nasrun(verb, *words, word, *limits).refusal
            refusal = nasrun(verb, *words, word).refusal
            told = f"{word}: has no effect on `nasrun {verb}`; type it with `nasrun retrain`"
            assert told in refusal
        refusal = nasrun(verb, *words, *limits, "retrain.epochs=3").refusal
        assert f"retrain.epochs=3: has no effect on `nasrun {verb}`" in refusal


def test_a_later_verb_counts_limits_in_the_layout_of_the_search(nasrun, here, small):
    limit = "budget.max_params_m=0.05"
    layout = ["retrain.channels=8", "retrain.layers=3"]
    assert nasrun("search", *small, *layout, limit).status == 0
    run = here / "outputs/digits-darts-darts/v001"
    words = ["discretisation=false", "budget.threads=1", "budget.device=cpu", limit]
    assert nasrun("select", *words).status == 0
    kept = (run / "select/magnitude/config.yaml").read_text()
    assert "channels: 8\n  layers: 3\n" in kept
    assert nasrun("select", *words, "retrain.channels=10").status == 0
    kept = (run / "select/magnitude-2/config.yaml").read_text()
    assert "channels: 10\n  layers: 3\n" in kept
    told = nasrun("select", *words[:-1], "method=argmax").out
    assert "the search was limited by budget.max_params_m=0.05, this selection is not" in told
    (run / "search/result.json").unlink()
    refusal = nasrun("search", f"run={run}", "budget.max_params_m=null").refusal
    assert f"budget.max_params_m=null: {run} is searched with budget.max_params_m=0.05" in refusal
    refusal = nasrun("search", f"run={run}", "retrain.channels=10").refusal
    assert f"retrain.channels=10: {run} is searched with retrain.channels=8" in refusal
    assert nasrun("search", f"run={run}").status == 0


def test_a_folder_that_is_neither_a_run_nor_a_selection_is_refused(nasrun, finished):
    for verb, inside in (
        ("retrain", "retrain/random"),
        ("transfer", "transfer/magnitude-mnist5k"),
        ("select", "search"),
        ("search", "config.yaml"),
        ("run", "select"),
        ("plan", "select/magnitude/cells"),
    ):
        refusal = nasrun(verb, f"run={finished}/{inside}").refusal
        assert f"run={finished}/{inside}: neither a run nor a selection in one" in refusal
        assert f"run={finished}, or" in refusal


def test_the_training_of_a_genotype_is_no_search_to_continue(nasrun, here):
    (here / "run").mkdir()
    for name in ("config.yaml", "run.json"):
        (here / "run" / name).write_text("{}")
    record = {"fingerprint": "a", "genotype": "darts_v2", "scale": {}}
    record["choices"] = {"space": "darts", "dataset": "digits"}
    (here / "run/run.json").write_text(json.dumps(record))
    for verb in ("search", "run", "select", "plan"):
        refusal = nasrun(verb, "run=run").refusal
        assert "run=run: holds a training of genotype=darts_v2, nothing to search" in refusal
    assert len(list((here / "run").iterdir())) == 2


WORDS = ["method=argmax", "budget.threads=1", "discretisation=false"]


def test_later_verbs_look_where_the_composed_configuration_says(
    nasrun, here, finished, monkeypatch
):
    """A run below `outputs`, the default, was continued without a word."""
    monkeypatch.setenv("SCRATCH", str(here / "scratch"))
    monkeypatch.setenv("HOME", str(here / "home"))
    (here / "conf/experiment").mkdir(parents=True)
    text = "# @package _global_\noutputs: {}\n"
    (here / "conf/experiment/mine.yaml").write_text(text.format("scratch/runs"))
    for word, place in {
        "experiment=mine": "scratch/runs",
        "outputs=${oc.env:SCRATCH}/runs": "scratch/runs",
        "outputs=~/runs": "home/runs",
        "outputs='${oc.env:HOME}/a(b)'": "home/a(b)",
    }.items():
        own = [word, "hydra.searchpath=[file://conf]", *WORDS]
        assert f"{place}: no finished search to select from" in nasrun("select", *own).refusal
        shutil.copytree(here / "outputs", here / place)
        answer = nasrun("select", *own)
        assert answer.status == 0, answer.err
        assert (here / place / "digits-darts-darts/v001/select/argmax/genotype.json").is_file()
        assert not (finished / "select/argmax").exists()
        shutil.rmtree(here / place)
    assert not (here / "~").exists()


def test_a_run_or_a_genotype_may_come_from_an_experiment_or_lie_at_home(
    nasrun, here, finished, monkeypatch, short
):
    monkeypatch.setenv("HOME", str(here))
    (here / "conf/experiment").mkdir(parents=True)
    file = here / "conf/experiment/mine.yaml"
    own = ["experiment=mine", "hydra.searchpath=[file://~/conf]"]
    file.write_text("# @package _global_\nrun: ~/nowhere\n")
    assert f"run={here}/nowhere: no run there" in nasrun("select", *own).refusal
    file.write_text(f"# @package _global_\nrun: {finished}\n")
    assert nasrun("select", *own, *WORDS).status == 0
    assert (finished / "select/argmax").is_dir()
    file.write_text("# @package _global_\ngenotype: ~/nowhere.json\n")
    refusal = nasrun("retrain", *own).refusal
    assert f"genotype={here}"[:40] in refusal  # a long text is cut
    assert "neither a published cell nor a file" in refusal
    assert f"run={here}/nowhere: no run there" in nasrun("show", "~/nowhere").refusal
    assert f"outputs={here}/nowhere" in nasrun("list", "runs", "outputs=~/nowhere").refusal


def test_a_sweep_lies_where_the_composed_configuration_says(nasrun, here, small, monkeypatch):
    monkeypatch.setenv("SCRATCH", str(here / "scratch"))
    answer = nasrun("search", "-m", "outputs=${oc.env:SCRATCH}/runs", "seed=0", *small)
    assert answer.status == 0, answer.err
    assert list(here.rglob("scratch/runs/sweeps/*/*/jobs.jsonl"))
    assert [path.name for path in here.iterdir()] == ["scratch"]


def test_a_damaged_newest_run_is_named_and_no_older_one_is_taken_for_it(
    nasrun, here, finished, short
):
    """Another search would be selected from, for hours perhaps, than the one that is meant."""
    older = here / "outputs/digits-darts-darts/v002"
    shutil.copytree(finished, older)
    os.utime(older / "run.json", ns=(0, 0))
    for name in ("run.json", "select/magnitude/config.yaml"):
        kept = (finished / name).read_text()
        (finished / name).write_text("{")
        os.utime(finished / "run.json")
        for verb in ("select", "retrain"):
            refusal = nasrun(verb).refusal
            assert str(finished / name) in refusal
            assert refusal.endswith("name the run that is meant by run=PATH")
        (finished / name).write_text(kept)
    (finished / "run.json").write_text("{")
    assert nasrun("select", f"run={older}", "budget.threads=1").status == 0


def test_a_run_knows_where_its_tables_lie_from_any_folder(nasrun, here, monkeypatch):
    write_table(here / "table.csv")
    words = ["search", "strategy=random", "evaluator=tabular", "space=nasbench201", "width=2"]
    words += ["images=64", "batch_size=16", "depth=3", "strategy.num_candidates=3"]
    words += ["space.table=table.csv", "budget.threads=1", "budget.device=cpu"]
    assert nasrun(*words).status == 0
    (run,) = here.glob("outputs/*/v001")
    recorded = yaml.safe_load((run / "config.yaml").read_text())["strategy"]
    assert recorded["evaluator"]["table"] == str(here / "table.csv")
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    answer = nasrun("select", f"run={run}", "budget.threads=1", "budget.device=cpu")
    assert answer.status == 0, answer.err
    monkeypatch.chdir(here)
    same = ["strategy.evaluator.table=table.csv", "budget.threads=1", "budget.device=cpu"]
    assert nasrun("select", f"run={run}", *same).status == 0
    other = ["strategy.evaluator.table=other.csv", *same[1:]]
    (here / "other.csv").write_text((here / "table.csv").read_text() + "\n")
    refusal = nasrun("select", f"run={run}", *other).refusal
    assert f"{here / 'other.csv'}: {run} was searched with another file" in refusal
    (here / "table.csv").rename(here / "other.csv")  # the file of then, in another place
    assert nasrun("select", f"run={run}", *other, "space.table=other.csv").status == 0


def test_a_training_needs_no_table_and_a_selection_may_leave_it_out(nasrun, here, short):
    write_table(here / "table.csv")
    words = ["run", "stages=[search,select]", "space=nasbench201", "rounds=1", "width=2", "depth=3"]
    words += ["images=64", "batch_size=16", "space.table=table.csv", "discretisation=false"]
    assert nasrun(*words, "budget.threads=1").status == 0
    (here / "table.csv").unlink()
    (run,) = here.glob("outputs/*/v001")
    answer = nasrun("retrain", f"run={run}", *short, "retrain.epochs=1")
    assert answer.status == 0, answer.err
    selecting = ["select", f"run={run}", "method=argmax", "budget.threads=1"]
    assert f"space.table={here / 'table.csv'}: cannot be read" in nasrun(*selecting).refusal
    answer = nasrun(*selecting, "discretisation=false", "space.table=null")
    assert answer.status == 0, answer.err


def test_a_search_is_another_one_with_other_contents_of_its_table(nasrun, here):
    write_table(here / "table.csv")
    words = ["search", "strategy=random", "evaluator=tabular", "space=nasbench201", "width=2"]
    words += ["images=64", "batch_size=16", "depth=3", "strategy.num_candidates=3"]
    words += ["space.table=table.csv", "budget.threads=1", "budget.device=cpu"]
    assert nasrun(*words).status == 0
    assert nasrun(*words).status == 0
    (here / "table.csv").write_text((here / "table.csv").read_text() + "\n")
    assert nasrun(*words).status == 0
    assert sorted(path.name for path in here.glob("outputs/*/v*")) == ["v001", "v002"]


def test_the_paths_of_tables_become_absolute(here):
    strategy = {"latency_table": "a.json", "evaluator": {"table": "b.csv", "column": "c"}}
    assert located({"strategy": strategy, "task": {"distance": "x"}, "budget": {}}) == {
        "strategy": {
            "latency_table": str(here / "a.json"),
            "evaluator": {"table": str(here / "b.csv"), "column": "c"},
        },
        "task": {"distance": "x"},
        "budget": {},
    }
    nothing = {"strategy": {"latency_table": None}}
    assert located(nothing) == nothing

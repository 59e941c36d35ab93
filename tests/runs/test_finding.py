"""The run that a later verb continues, and paths that are none."""

import json
import os
import shutil


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

"""The entry point: help, speed, and its output streams."""

import io
import json
import signal
import subprocess
import sys

import pytest
import torch

from nasrun.cli.verbs import VERBS


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
    ["run", "selector.rule._target_=nasrun.files.write_json"],
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
    for words, status, seconds, with_torch in answers:
        print(f"{seconds:.2f} s  nasrun {' '.join(words)}")
        assert status == (0 if words[0] in ("--help", "list") or "--help" in words else 2), words
        assert not with_torch, words
    assert list(here.iterdir()) == []


def test_a_reader_that_stops_reading_is_no_error(here):
    def piped(reader):
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", f"'{sys.executable}' -m nasrun list | {reader}"],
            capture_output=True,
            text=True,
            check=False,
        )

    ended = piped("head -1")
    assert ended.stderr == ""
    assert "space" in ended.stdout
    gone = piped("true")
    assert (gone.returncode, gone.stderr) == (128 + signal.SIGPIPE, "")


def test_a_run_whose_reader_has_gone_ends_as_by_its_signal(nasrun, small, monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

    monkeypatch.setattr("sys.stdout", Gone())
    assert nasrun("search", *small).status == 128 + signal.SIGPIPE


def test_too_little_memory_is_told_in_one_line(nasrun, monkeypatch):
    text = "[enforce fail] DefaultCPUAllocator: can't allocate memory: 9 bytes"
    on_gpu = "CUDA out of memory. Tried to allocate 2.00 GiB"
    for error in (RuntimeError(text), torch.OutOfMemoryError(on_gpu), MemoryError()):

        def fails(arguments, error=error):
            raise error

        monkeypatch.setattr("nasrun.cli.main.dispatch", fails)
        assert "not enough memory; use a smaller width" in nasrun("search").refusal

    def of_a_worker(arguments):
        raise torch.OutOfMemoryError(on_gpu) from RuntimeError("in a worker process:\n...")

    assert "engine" not in nasrun("search").refusal
    monkeypatch.setattr("nasrun.cli.main.dispatch", of_a_worker)
    assert "batch_size, or fewer engine.processes" in nasrun("search").refusal

    lost = "DataLoader worker (pid 12) is killed by signal: Killed."
    for text in (lost, "unable to allocate shared memory(shm) for file </torch_1>"):

        def stops(arguments, text=text):
            raise RuntimeError(text)

        monkeypatch.setattr("nasrun.cli.main.dispatch", stops)
        assert "use dataset.workers=0" in nasrun("search").refusal

    def broken(arguments):
        raise RuntimeError("Caught RuntimeError in DataLoader worker process 0.\na bug")

    monkeypatch.setattr("nasrun.cli.main.dispatch", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        nasrun("search")


def test_help_of_an_option_tells_its_keys_with_defaults_and_sources(nasrun, here):
    text = nasrun("search", "--help", "strategy=snas").out
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines()]
    told = {row[0]: row[1:] for row in rows if len(row) == 3}
    assert told["strategy.relaxation.tau_end"][0] == "0.03"
    assert told["strategy.relaxation.tau_end"][1].startswith("SNAS's released code")
    assert told["strategy.weight_optimizer.momentum"] == ["0.9", "DARTS sec. 3.1"]
    assert told["strategy.rounds"][0] == "${rounds}"
    assert told["strategy.alpha_optimizer.betas"][0] == "[0.5, 0.999]"
    assert "retrain.channels" in nasrun("retrain", "retrain=cifar", "-h").out
    assert (
        "seed=3: --help has nothing on this; type GROUP=option of"
        in nasrun("search", "-h", "seed=3").refusal
    )
    assert "retrain=cifar: --help has nothing" in nasrun("search", "-h", "retrain=cifar").refusal
    assert "strategy=dart: unknown option" in nasrun("search", "-h", "strategy=dart").refusal
    assert (
        "nowhere: --help has nothing on this; type --help alone"
        in nasrun("show", "-h", "nowhere").refusal
    )


def test_help_of_an_option_inside_another_tells_its_keys(nasrun):
    for words in (
        ("search", "--help", "strategy=random", "evaluator=naswot"),
        ("search", "--help", "evaluator=naswot"),
        ("analyze", "ranks", "--help", "evaluator=naswot"),
    ):
        answer = nasrun(*words)
        assert answer.status == 0, answer.err
        assert answer.out.count("evaluator=naswot") == 1
        assert "strategy.evaluator.images" in answer.out
        assert ("strategy.together" in answer.out) == (words[0] == "search")  # ranks reads none
        assert answer.out.startswith("strategy=random ") == (words[0] == "search")
    told = nasrun("search", "--help", "strategy=darts", "evaluator=naswot").refusal
    assert told.endswith("has no effect, this strategy has no evaluator; leave it out")
    inside = nasrun("transfer", "--help", "dataset@transfer.dataset=image_folder").out
    assert "transfer.dataset.flip" in inside
    assert "tracker.wandb.project" in nasrun("search", "-h", "tracker=[tensorboard,wandb]").out


def test_help_fits_the_terminal_and_breaks_no_name(nasrun, monkeypatch):
    from nasrun.cli.verbs import VERBS
    from nasrun.config import GROUPS, options

    for width in (60, 80, 140):
        monkeypatch.setenv("COLUMNS", str(width))
        for words in ((), *((verb,) for verb in VERBS)):
            text = nasrun(*words, "--help").out
            found = set(text.replace(",", " ").split())
            long = [line for line in text.splitlines() if len(line) >= width]
            assert all(line.startswith("  nasrun ") for line in long), long  # an example is whole
            if words and VERBS[words[0]].composed:
                groups = [group for group in GROUPS if group in VERBS[words[0]].reads]
                assert {name for group in groups for name in options(group)} <= found
        assert "rounds=5" in nasrun("search", "--help").out


def test_a_word_that_is_not_utf_8_is_refused(nasrun, here):
    refusal = nasrun("search", "dataset.root=/data/caf\udce9").refusal
    assert refusal.endswith(
        r"'dataset.root=/data/caf\udce9': is not UTF-8; rename the file or folder"
    )
    assert not list(here.iterdir())


def test_help_of_a_verb_may_be_asked_for_in_any_order_and_that_of_a_plan_with_its_stage(nasrun):
    told = nasrun("search", "--help").out
    for words in (("help", "search"), ("--help", "search")):
        assert nasrun(*words).out == told
    for words in (("help", "help"), ("help", "--help"), ("--help", "-h")):
        assert nasrun(*words).out == nasrun("--help").out
    assert nasrun("help", "analyze", "search").out == nasrun("analyze", "search", "--help").out
    assert nasrun("plan", "retrain", "--help").out == nasrun("plan", "--help").out
    assert "epochs" in nasrun("plan", "retrain", "--help", "retrain=cifar").out
    assert "serch: unknown verb, did you mean search?" in nasrun("help", "serch").refusal

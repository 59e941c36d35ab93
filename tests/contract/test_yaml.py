"""Rules for every YAML file: it is a complete call with comments, and every number has a source."""

import inspect
import re
from collections.abc import Mapping
from importlib import import_module

import pytest
import yaml

from nasrun import config as configuration
from nasrun.config import GROUPS, conf_folder
from nasrun.strategies.base import PopulationStrategy
from nasrun.trackers.base import Tracker

FILES = sorted(path for path in conf_folder().rglob("*.yaml"))
DEFAULTS = [path for path in FILES if path.parent.name not in ("experiment", "genotypes")]
"""Files without a source per number; the others name theirs in the comment at the top."""
NUMBER = re.compile(r"^\s*(- )?\w+: *-?[0-9.]+(e-?[0-9]+)? *(#.*)?$")


def calls(node, key=""):
    """Return every node with a `_target_`, with its place."""
    if isinstance(node, Mapping):
        if "_target_" in node:
            yield key, node
        for name, child in node.items():
            yield from calls(child, f"{key}.{name}")


def check_calls(group, node):
    found = dict(calls(node, group))
    assert found
    for key, call in found.items():
        module, _, name = call["_target_"].rpartition(".")
        if module.startswith("torch."):
            continue  # torch's own defaults hold for what is not listed
        parameters = inspect.signature(getattr(import_module(module), name)).parameters
        given = {word for word in call if not word.startswith("_")}
        if call.get("_partial_"):
            assert given <= set(parameters), key
        else:
            assert given == set(parameters), key


def given(group, option):
    """Return an override for a key without a default, if the group's option has one."""
    text = "\n".join(path.read_text() for path in FILES if path.stem == option)
    if group == "dataset" and "root: ???" in text:
        return ["dataset.root=folder"]
    if group == "task" and "weights: ???" in text:
        return ["task.distance.weights=file"]
    if group == "transfer" and option not in ("quick", "mobile", "morph"):  # on an embedded set
        return ["transfer.dataset.root=folder"]
    return []


def test_a_strategy_lists_every_keyword(bench, node, strategy):
    check_calls("strategy", node("strategy", strategy))


def test_a_selector_lists_every_keyword(bench, node, selector):
    check_calls("selector", node("selector", selector))


def test_a_space_lists_every_keyword(bench, space):
    check_calls("space", bench.node("space", space))


def test_a_task_lists_every_keyword(bench, task):
    check_calls("task", bench.node("task", task, *given("task", task)))


def test_the_members_of_a_population_list_every_keyword_of_what_they_learn(bench):
    words = ["task=classification", "space=darts"]
    for path in sorted((conf_folder() / "task/members").glob("[!_]*.yaml")):
        node = bench.node("strategy", path.stem, *words)
        module, _, name = node["_target_"].rpartition(".")
        assert issubclass(getattr(import_module(module), name), PopulationStrategy)
        check_calls("task", bench.node("task", "classification", f"strategy={path.stem}", words[1]))


def test_an_engine_lists_every_keyword(bench, engine):
    node = configuration.resolve(configuration.compose([f"engine={engine}"]).config["engine"])
    check_calls("engine", node)


def test_a_tracker_lists_every_keyword(bench, tracker):
    node = bench.compose(f"tracker={tracker}").config["tracker"] or {}
    calls = configuration.resolve(node) if node else {}
    for name, call in calls.items():
        check_calls(f"tracker.{name}", call)
        key = f"tracker.{name}"
        assert isinstance(configuration.build(call, key, bench.trusted), Tracker)
        with pytest.raises(ValueError, match=rf"{key}\.strange=1: .* has no such keyword"):
            configuration.build({**call, "strange": 1}, key, bench.trusted)
    assert list(calls) == ([] if tracker == "none" else [tracker])


def test_a_budget_lists_every_keyword(bench, budget):
    parameters = configuration.resolve(bench.compose(f"budget={budget}").config["budget"])
    check_calls("budget", parameters)


def test_a_retraining_lists_every_keyword(bench, retrain):
    check_calls("retrain", bench.node("retrain", retrain))


def test_a_transfer_lists_every_keyword(bench, transfer):
    node = bench.node("transfer", transfer, *given("transfer", transfer))
    check_calls("transfer.dataset", node.pop("dataset"))
    check_calls("transfer", node)


def test_a_dataset_lists_every_keyword(bench, dataset):
    check_calls("dataset", bench.node("dataset", dataset, *given("dataset", dataset)))


@pytest.mark.parametrize("group", GROUPS)
def test_an_option_says_what_it_is_in_its_first_line(request, group):
    from pathlib import Path

    folders = [Path(folder) for folder in request.config.getoption("--conf")]
    found = configuration.options(group, folders)
    assert found
    for option, text in found.items():
        assert len(text) > 15, option
        assert len(text.split()) >= 3, option


def test_every_number_has_a_source():
    for path in DEFAULTS:
        lines = [line for line in path.read_text().splitlines() if NUMBER.match(line)]
        lines = [line for line in lines if line.partition(":")[0].strip() != "seed"]
        assert [line for line in lines if "# " not in line] == [], path


def test_the_pattern_finds_numbers():
    """Else the test above would check nothing."""
    for line in ("lr: 0.1", "  last: 3.0e-4", "epochs: 600 # DARTS", "gap: -1"):
        assert NUMBER.match(line), line
    assert not NUMBER.match("channels: ${width}")
    numbered = [path for path in FILES if any(map(NUMBER.match, path.read_text().splitlines()))]
    assert len(numbered) > 10


def test_a_file_begins_with_a_comment_and_fits_one_screen():
    for path in FILES:
        text = path.read_text()
        assert text.startswith("# "), path
        assert len(text.splitlines()) <= 60, path
        assert isinstance(yaml.safe_load(text), dict), path

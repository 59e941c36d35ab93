"""The choice of trackers: on the command line, or once for all commands."""

import re

import pytest

from nasrun.config import compose


def chosen(*words):
    return list(compose([*words]).config.get("tracker") or {})


def test_trackers_are_chosen_by_name_several_by_a_list_and_none_by_default():
    assert chosen() == chosen("tracker=none") == chosen("tracker=[]") == []
    assert chosen("tracker=tensorboard") == ["tensorboard"]
    assert chosen("tracker=[tensorboard,mlflow]") == ["tensorboard", "mlflow"]
    words = ["tracker=[mlflow,wandb]", "tracker.mlflow.uri=http://there", "tracker.wandb.entity=us"]
    config = compose(words).config.tracker
    assert (config.mlflow.uri, config.wandb.entity) == ("http://there", "us")


def test_a_variable_chooses_them_for_all_commands_that_choose_none(monkeypatch):
    monkeypatch.setenv("NASRUN_TRACKER", "tensorboard,mlflow")
    assert chosen() == ["tensorboard", "mlflow"]
    assert chosen("tracker=wandb") == ["wandb"]
    assert chosen("tracker=none") == []
    monkeypatch.setenv("NASRUN_TRACKER", "")
    assert chosen() == []


WRONG = {
    "tracker=mlflo": "tracker=mlflo: unknown option, did you mean mlflow?",
    "tracker=[mlflow,board]": "tracker=board: unknown option",
    "tracker=null": "tracker=null: needed; use none",
    "tracker.mlflow.uri=x": "tracker.mlflow.uri=x: has no effect without tracker=mlflow",
    "tracker=mlflow tracker.mlflow.url=x": "unknown key, did you mean tracker.mlflow.uri",
}


def test_a_wrong_choice_is_refused_with_what_to_type(nasrun, here):
    for words, refusal in WRONG.items():
        with pytest.raises(ValueError, match=re.escape(refusal)):
            compose(words.split())
    words = ["tracker=mlflow", "tracker.mlflow.uri=3"]
    assert "tracker.mlflow.uri=3: expected a text" in nasrun("search", *words).refusal
    assert list(here.iterdir()) == []


def test_a_missing_package_is_refused_with_its_command_before_anything_begins(
    nasrun, here, small, monkeypatch
):
    monkeypatch.setattr("nasrun.trackers.base.find_spec", lambda name: None)
    for name, package in (("tensorboard",) * 2, ("mlflow",) * 2, ("wandb",) * 2):
        refusal = nasrun("search", *small, f"tracker={name}").refusal
        command = f"pip install 'nasrun[{name}]'"
        assert refusal == f"nasrun: tracker={name}: {package} is missing; {command}"
    monkeypatch.setattr("nasrun.trackers.base.find_spec", lambda name: name == "mlflow" or None)
    assert "sqlalchemy is missing" in nasrun("search", *small, "tracker=mlflow").refusal
    assert list(here.iterdir()) == []


def test_a_tracker_makes_no_new_version(nasrun, here, finished, small, monkeypatch):
    monkeypatch.setattr("nasrun.trackers.base.find_spec", lambda name: name)
    seen = []
    monkeypatch.setattr(
        "nasrun.trackers.tensorboard.TensorBoard.open", lambda self, run: seen.append(run.name)
    )
    answer = nasrun("search", *small, "tracker=tensorboard")  # what it answers is nothing
    assert answer.status == 0
    assert answer.err.startswith("nasrun: warning: tracker=tensorboard: ")
    assert set(seen) == {"digits-darts-darts/v001"}
    assert [path.name for path in finished.parent.iterdir()] == ["v001"]

"""The comments of an option's keys: its own, and those of what is put into it."""

from nasrun.config import compose
from nasrun.config.comments import described


def comments(group, *words):
    return {key.key: key.comment for key in described(compose(list(words)), group)}


def test_a_key_has_the_comment_of_the_option_that_is_put_in_its_place():
    assert comments("strategy", "strategy=random")["strategy.evaluator.epochs"]
    inherited = comments("strategy", "strategy=random", "evaluator@strategy=inherited")
    assert inherited["strategy.evaluator.rounds"]
    members = comments("task", "strategy=pbtnas", "task=classification", "space=darts")
    assert members["task.epochs"] == "per interval; ours"
    assert members["task.optimizer.momentum"] == "DARTS sec. 3.1"
    assert members["task.share"] == "DARTS sec. 3.1: all images"
    assert "task.epochs" not in comments("task", "strategy=darts")
    assert comments("transfer")["transfer.dataset.split_seed"]


def test_the_keys_of_a_place_are_those_of_what_is_put_there():
    folder = comments("transfer.dataset", "dataset@transfer.dataset=image_folder")
    assert folder["transfer.dataset.flip"] == "ours: use false if a mirrored image is another class"
    assert all(key.startswith("transfer.dataset.") for key in folder)


def test_several_options_have_their_own_comments():
    several = comments("tracker", "tracker=[tensorboard,wandb]")
    assert several["tracker.wandb.project"] == "ours"
    assert several["tracker.tensorboard.folder"].startswith("ours: the run's folder")
    assert comments("tracker", "tracker=[]") == comments("tracker", "tracker=none") == {}

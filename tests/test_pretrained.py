"""Weights to begin from: which are taken over, and which files are refused."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nasrun import pretrained


class Network(nn.Module):
    """A body, a classifier and, if wanted, an auxiliary head."""

    def __init__(self, classes, width=4, auxiliary=False):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(3, width), nn.BatchNorm1d(width))
        self.classifier = nn.Linear(width, classes)
        if auxiliary:
            self.auxiliary = nn.Linear(width, classes)


@pytest.fixture
def saved(tmp_path):
    """A function that saves the weights of a network, changed from their beginning."""

    def save(network):
        with torch.no_grad():
            for value in network.state_dict().values():
                value.add_(1)
        save_file(network.state_dict(), tmp_path / "weights.safetensors")
        return tmp_path / "weights.safetensors"

    return save


def test_all_weights_and_statistics_of_the_same_network_are_taken_over(saved):
    theirs, ours = Network(5), Network(5)
    pretrained.load(ours, saved(theirs), 5)
    for name, value in ours.state_dict().items():
        assert torch.equal(value, theirs.state_dict()[name]), name


def test_of_other_classes_only_the_classifier_stays_as_it_was(saved):
    theirs, ours = Network(5), Network(7)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    pretrained.load(ours, saved(theirs), 7)
    for name, value in ours.state_dict().items():
        kept = before if name.startswith("classifier") else theirs.state_dict()
        assert torch.equal(value, kept[name]), name


@pytest.mark.parametrize("auxiliary", [True, False])
def test_either_network_may_lack_the_auxiliary_head(saved, auxiliary):
    theirs, ours = Network(5, auxiliary=not auxiliary), Network(5, auxiliary=auxiliary)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    pretrained.load(ours, saved(theirs), 5)
    for name, value in ours.state_dict().items():
        kept = before if name.startswith("auxiliary") else theirs.state_dict()
        assert torch.equal(value, kept[name]), name


def test_the_weights_of_another_network_are_refused_and_nothing_changes(saved):
    ours = Network(5)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    with pytest.raises(ValueError, match=r"^weights=.* is \[6.*\], not \[4.*channels"):
        pretrained.load(ours, saved(Network(5, width=6)), 5)
    with pytest.raises(ValueError, match=r"another network \(.* is in one of them only\)"):
        pretrained.load(ours, saved(nn.Sequential(nn.Linear(3, 4))), 5)
    assert all(torch.equal(value, before[name]) for name, value in ours.state_dict().items())


def test_a_file_that_is_missing_or_holds_no_weights_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"weights=.*there is no such file; name the weights"):
        pretrained.read(tmp_path / "weights.safetensors")
    (tmp_path / "state.pt").write_text("no weights")
    with pytest.raises(ValueError, match=r"weights=.*state\.pt: this is no file of weights; name"):
        pretrained.read(tmp_path / "state.pt")

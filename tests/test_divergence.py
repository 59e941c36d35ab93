"""Training that diverges: its message, and the keys in it."""

import math
import pickle

import pytest
import torch

from nasrun.divergence import Diverged, below, finite


def test_losses_parameters_and_buffers_are_looked_at():
    network = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    assert finite({"loss": 1e30}, network)
    assert not finite({"loss": math.inf}, network)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            kept = tensor.clone()
            tensor.view(-1)[-1] = math.nan
            assert not finite({}, network), name
            tensor.copy_(kept)
    assert finite({}, network)


@pytest.mark.parametrize(
    ("keys", "advice"),
    [
        (["lr"], "use a smaller strategy.inner.lr"),
        (["lr", "clip"], "use a smaller strategy.inner.lr or strategy.inner.clip"),
        (["a", "b", "c"], "use a smaller strategy.inner.a, strategy.inner.b or strategy.inner.c"),
    ],
)
def test_keys_are_named_as_they_are_typed(keys, advice):
    with pytest.raises(Diverged) as raised, below("strategy"), below("inner"):
        raise Diverged("the search", {"loss": math.nan, "accuracy": 0.1}, keys)
    assert raised.value.happened == "the search diverged (loss nan)"
    assert raised.value.advice == advice
    assert str(raised.value) == f"the search diverged (loss nan); {advice}"


def test_a_worker_process_can_send_it():
    sent = Diverged("the search", {"loss": math.inf}, ["lr", "clip"])
    found = pickle.loads(pickle.dumps(sent))
    assert (str(found), found.keys, found.losses) == (str(sent), sent.keys, sent.losses)

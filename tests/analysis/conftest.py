"""A finished search, for whatever measures one."""

import pytest

WORDS = ["rounds=1", "width=2", "depth=4", "batch_size=16", "images=64", "dataset.size=8"]
WORDS += ["space=darts_s3", "space.nodes=2", "budget.threads=1", "budget.device=cpu"]
RUN = "outputs/digits-darts_s3-darts/v001"


@pytest.fixture
def searched(nasrun):
    """The path of a finished search."""
    assert nasrun("search", *WORDS).status == 0
    return RUN

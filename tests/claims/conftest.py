"""A claim about two arms on the embedded digits, small enough for a test."""

import pytest
import yaml

from nasrun.claims.claim import protocol

SMALL = (
    "space=nasbench201 rounds=2 width=2 depth=3 batch_size=16 images=64 "
    "budget.threads=1 budget.device=cpu"
)
TINY = {
    "_target_": "nasrun.claims.claim.Claim",
    "paper": "ours",
    "sentence": "SNAS loses less than DARTS",
    "words": SMALL,
    "arms": {
        "darts": ["search strategy=darts", "select selector=magnitude budget.threads=1"],
        "snas": ["search strategy=snas", "select selector=argmax budget.threads=1"],
    },
    "minutes": {"darts": 2.0, "snas": 3.0},
    "measures": {
        "gap": {
            "_target_": "nasrun.claims.measures.Result",
            "stage": "select",
            "key": "gap",
            "text": "lost, points",
            "percent": True,
        }
    },
    "comparisons": [
        {
            "_target_": "nasrun.claims.comparisons.Paired",
            "measure": "gap",
            "larger": "darts",
            "smaller": "snas",
        }
    ],
    "seeds": 2,
}

CELLS = ("|none~0|+|none~0|none~1|+|none~0|none~1|none~2|", "|a~0|+|a~0|a~1|+|a~0|a~1|a~2|")
TRUE = {
    "_target_": "nasrun.claims.measures.TrueAccuracy",
    "text": "true, %",
    "data": "cifar10",
    "cells": {"all a": CELLS[1]},
}


def written(path, content):
    """Write a claim with its fingerprint, and return its file."""
    path.write_text(yaml.safe_dump({**content, "frozen": protocol(content)}, sort_keys=False))
    return path


@pytest.fixture
def tiny(here):
    """The file of the claim, in an empty folder."""
    return written(here / "tiny.yaml", TINY)

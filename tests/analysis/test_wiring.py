"""Widths and depths of cells: published ones, and all of a space against brute force."""

from collections import Counter
from fractions import Fraction
from itertools import combinations, product

import pytest
from toys import DARTS, OPERATIONS

from nasrun.analysis.wiring import Wiring, cells_of, count_wirings, shapes, wirings
from nasrun.config import build, compose, resolve
from nasrun.config.given import architecture_of
from nasrun.genotype import NONE, Genotype
from nasrun.spaces.darts import DartsSpace


def space(option):
    return build(resolve(compose([f"space={option}"]).config["space"]), "space")


def test_published_normal_cells_have_the_widths_and_depths_of_the_paper():
    """1909.09569 figure 2; NASNet's, AmoebaNet's and ENAS's nodes read a state twice."""
    names = ("darts_v1", "darts_v2", "snas_mild", "snas_moderate")
    for name, shape in zip(names, [(3.5, 3), (3.5, 3), (4, 2), (4, 2)], strict=True):
        _, genotype, home = architecture_of(name, None, [])
        assert Wiring.of(home, genotype, "normal").shape == shape, name
    joined = (2, 3, 4, 5, 6)
    nasnet = Wiring({2: (1, 0), 3: (0, 0), 4: (1, 0), 5: (0, 0), 6: (1, 1)}, joined)
    amoebanet = Wiring({2: (0, 1), 3: (0, 2), 4: (0, 3), 5: (1, 1), 6: (0, 1)}, (4, 5, 6))
    enas = Wiring({2: (1, 1), 3: (1, 0), 4: (0, 1), 5: (0, 1), 6: (1, 0)}, joined)
    assert (nasnet.shape, amoebanet.shape, enas.shape) == ((5, 2), (4, 4), (5, 2))


def test_the_widest_and_the_narrowest_cell_of_a_space_are_those_of_the_paper():
    for nodes in (1, 2, 3, 4):
        two = DartsSpace(operations=OPERATIONS, nodes=nodes, kept_edges=2, channels=2, layers=3)
        found = shapes(two, "normal")
        assert max(found)[0] == nodes
        assert max(found).depth == 2
        narrowest = min(found)[0]
        assert narrowest == (Fraction(3, 2) if nodes > 1 else 1)
        assert max(depth for _, depth in found) == nodes + 1


def test_every_wiring_of_a_cell_is_enumerated_as_brute_force_does():
    found = Counter()
    names = [name for name in DARTS.names if name.startswith("normal/")]
    for choices in product(*(d.choices for d in DARTS.decisions[: len(names)])):
        chosen = dict(zip(names, choices, strict=True))
        kept = Counter(name.split("-")[0] for name, choice in chosen.items() if choice != NONE)
        if kept == {"normal/2": 1, "normal/3": 1}:  # one edge a node
            chosen |= {name: NONE for name in DARTS.names if name not in chosen}
            found[Wiring.of(DARTS, Genotype("darts", chosen), "normal").shape] += 1
    assert shapes(DARTS, "normal") == found
    assert found.total() == 2 * 3 * 2**2


def test_darts_has_180_wirings_and_all_cells_of_nasbench201_are_counted():
    darts, nasbench = space("darts"), space("nasbench201")
    assert count_wirings(darts, "normal") == 180 == len(set(wirings(darts, "normal")))
    assert shapes(darts, "reduce").total() == 180 * 7**8
    assert count_wirings(nasbench, "cell") == 2**6
    assert shapes(nasbench, "cell").total() == 15_625
    three = {kept for kept, _ in wirings(nasbench, "cell") if len(kept) == 3}
    assert three == set(combinations(nasbench.names, 3))


@pytest.mark.parametrize(
    ("cell", "shape"),
    [
        ("|a~0|+|none~0|a~1|+|none~0|none~1|a~2|", (1, 3)),  # a chain
        ("|a~0|+|a~0|none~1|+|none~0|a~1|a~2|", (2, 2)),  # two nodes side by side
        ("|a~0|+|a~0|a~1|+|a~0|none~1|none~2|", (0, 1)),  # nobody reads the nodes
        ("|none~0|+|none~0|a~1|+|none~0|a~1|a~2|", (0, 0)),  # no way from the input
        ("|a~0|+|a~0|a~1|+|a~0|a~1|a~2|", (1.5, 3)),
    ],
)
def test_what_leads_nowhere_does_not_count(cell, shape):
    nasbench = space("nasbench201")
    genotype = nasbench.parse(cell.replace("a~", "nor_conv_1x1~"))
    assert Wiring.of(nasbench, genotype, "cell").shape == shape


def test_a_space_without_cells_is_refused():
    for option in ("mobile", "gan", "drqv2"):
        with pytest.raises(ValueError, match="has no cells with edges; use darts or nasbench201"):
            cells_of(space(option))

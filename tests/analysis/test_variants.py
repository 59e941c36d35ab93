"""Variants of a cell: what is drawn anew, what stays, and how many there are."""

from collections import Counter
from fractions import Fraction

import pytest
import torch
from toys import DARTS

from nasrun.analysis.variants import reoperated, rewired
from nasrun.analysis.wiring import Wiring
from nasrun.config.given import architecture_of
from nasrun.genotype import NONE


def drawing(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return lambda below: int(torch.randint(below, (), generator=generator))


def of_nodes(genotype, cell):
    """The operations of every node."""
    kept = {n: c for n, c in genotype.items() if n.startswith(cell) and c != NONE}
    return Counter((name.split("-")[0], choice) for name, choice in kept.items())


def test_a_space_with_too_many_wirings_is_told_to_change_operations(monkeypatch):
    monkeypatch.setattr("nasrun.analysis.variants.MOST", 179)
    _, darts_v2, space = architecture_of("darts_v2", None, [])
    told = "space=darts: 180 wirings, more than the 179 that .* use change=operations"
    with pytest.raises(ValueError, match=told):
        next(rewired(space, darts_v2, "normal", 1, [], drawing()))


def test_other_connections_have_the_asked_widths_and_the_operations_of_every_node():
    _, darts_v2, space = architecture_of("darts_v2", None, [])
    widths = [Fraction(2), Fraction(5, 2), Fraction(3), Fraction(7, 2)]
    found = list(rewired(space, darts_v2, "normal", 12, widths, drawing()))
    assert len(set(found)) == 12
    shapes = [Wiring.of(space, variant, "normal").width for variant in found]
    assert shapes == [width for width in widths for _ in range(3)]
    for variant in found:
        assert space.check(variant) == variant
        assert of_nodes(variant, "normal") == of_nodes(darts_v2, "normal")
        reduce = [n for n in variant if n.startswith("reduce")]
        assert [variant[n] for n in reduce] == [darts_v2[n] for n in reduce]
    assert found == list(rewired(space, darts_v2, "normal", 12, widths, drawing()))
    assert found != list(rewired(space, darts_v2, "normal", 12, widths, drawing(1)))


def test_every_other_wiring_can_be_drawn_and_no_more():
    genotype = DARTS.sample()
    others = list(rewired(DARTS, genotype, "normal", 5, [], drawing()))  # 2 * 3 wirings
    assert len({tuple(v[n] != NONE for n in v) for v in [*others, genotype]}) == 6
    with pytest.raises(ValueError, match="count=6: 5 other wirings keep the operations"):
        list(rewired(DARTS, genotype, "normal", 6, [], drawing()))
    with pytest.raises(ValueError, match=r"widths=\[7\]: 0 other wirings"):
        list(rewired(DARTS, genotype, "normal", 1, [Fraction(7)], drawing()))


def test_other_operations_keep_the_connections():
    genotype = DARTS.sample()
    found = list(reoperated(DARTS, genotype, "reduce", 3, drawing()))
    assert len({genotype, *found}) == 4  # two edges, two operations
    for variant in found:
        assert [v != NONE for v in variant.values()] == [v != NONE for v in genotype.values()]
    with pytest.raises(ValueError, match="count=4: found 3 variants; use a smaller count"):
        list(reoperated(DARTS, genotype, "reduce", 4, drawing()))


def test_a_cell_of_nasbench201_keeps_as_many_edges_of_every_node():
    _, resnet, space = architecture_of("nb201_resnet", None, [])
    for variant in rewired(space, resnet, "cell", 5, [], drawing()):
        assert of_nodes(variant, "cell") == of_nodes(resnet, "cell")

"""Cells to lay out and to draw."""

from nasrun.pictures.graph import CELL_INPUTS

TWO_BACK, ONE_BACK = CELL_INPUTS

# DARTS_V2 of arXiv 1806.09055.
DARTS_V2 = {
    "normal": [
        (TWO_BACK, "0", "sep_conv_3x3"),
        (ONE_BACK, "0", "sep_conv_3x3"),
        (TWO_BACK, "1", "sep_conv_3x3"),
        (ONE_BACK, "1", "sep_conv_3x3"),
        (TWO_BACK, "2", "skip_connect"),
        (ONE_BACK, "2", "sep_conv_3x3"),
        (TWO_BACK, "3", "skip_connect"),
        ("0", "3", "dil_conv_3x3"),
    ],
    "reduce": [
        (TWO_BACK, "0", "max_pool_3x3"),
        (ONE_BACK, "0", "max_pool_3x3"),
        (ONE_BACK, "1", "max_pool_3x3"),
        ("0", "1", "skip_connect"),
        (TWO_BACK, "2", "max_pool_3x3"),
        ("0", "2", "skip_connect"),
        (ONE_BACK, "3", "max_pool_3x3"),
        ("0", "3", "skip_connect"),
    ],
}
FLOW = [("in", "1", "nor_conv_3x3"), ("in", "2", "skip_connect"), ("2", "out", "avg_pool_3x3")]
CHAIN = [(f"layer{i:02d}", f"layer{i + 1:02d}", "mbconv_3_6") for i in range(15)]


def all_edges(nodes):
    names = [*CELL_INPUTS, *map(str, range(nodes))]
    return [(names[j], names[i], "skip_connect") for i in range(2, nodes + 2) for j in range(i)]

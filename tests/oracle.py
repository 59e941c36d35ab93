"""A second, plain implementation of the networks of cell spaces: the oracle of the fast one.

It runs edge by edge and candidate by candidate in the order of the papers' code, `none` included,
with the weights of one of our networks: from a module it takes only the convolutions' weights and
the batch norms' scale and shift, in order. Maps have even sides.
"""

from functools import cache

import torch
import torch.nn.functional as F
from torch import nn


class Plain:
    """The common part of both spaces.

    `statistics` collects what each batch norm saw, if asked to.
    """

    def __init__(self, network, space, *, layers=None, stem="cifar", pool_norm=False):
        self.network, self.space = network, space
        self.layers = space.layers if layers is None else layers
        self.stem, self.pool_norm = stem, pool_norm
        self.statistics = None
        self.parts = cache(self.parts)

    def parts(self, name):
        modules = list(self.network.get_submodule(name).modules())
        convolutions = [m.weight for m in modules if isinstance(m, nn.Conv2d)]
        return convolutions, [m for m in modules if isinstance(m, nn.BatchNorm2d)]

    def norm(self, x, norm):
        if self.statistics is not None:
            self.statistics[norm] = x.mean((0, 2, 3)), x.var((0, 2, 3))
        return F.batch_norm(x, None, None, norm.weight, norm.bias, training=True)

    def relu_conv_norm(self, x, name, stride=1):
        (weight,), (norm,) = self.parts(name)
        padding = (weight.shape[-1] - 1) // 2
        return self.norm(F.conv2d(F.relu(x), weight, stride=stride, padding=padding), norm)

    def factorised(self, x, name):
        (even, odd), (norm,) = self.parts(name)
        x = F.relu(x)
        halves = F.conv2d(x, even, stride=2), F.conv2d(x[:, :, 1:, 1:], odd, stride=2)
        return self.norm(torch.cat(halves, 1), norm)

    def separable(self, x, name, stride, kernel, dilation):
        weights, norms = self.parts(name)
        for depthwise, pointwise, norm in zip(weights[::2], weights[1::2], norms, strict=True):
            how = {"padding": dilation * (kernel - 1) // 2, "dilation": dilation, "stride": stride}
            x = F.conv2d(F.relu(x), depthwise, groups=x.shape[1], **how)
            x = self.norm(F.conv2d(x, pointwise), norm)
            stride = 1
        assert len(norms) == 3 - dilation  # twice without, once with dilation
        return x

    def operation(self, x, choice, name, stride):
        if choice == "none":
            return x[:, :, ::stride, ::stride] * 0
        if choice == "noise":
            return torch.randn_like(x[:, :, ::stride, ::stride])
        name = f"{name}.candidates.{choice}"
        kernel = int(choice[-1]) if choice[-1].isdigit() else None
        if choice == "skip_connect":
            return x if stride == 1 else self.factorised(x, name)
        if choice.startswith("nor_conv"):
            return self.relu_conv_norm(x, name)
        if "conv" in choice:
            return self.separable(x, name, stride, kernel, 1 + choice.startswith("dil"))
        if choice == "max_pool_3x3":
            x = F.max_pool2d(x, 3, stride, 1)
        else:
            x = F.avg_pool2d(x, 3, stride, 1, count_include_pad=False)
        return self.norm(x, *self.parts(name)[1]) if self.pool_norm else x

    def edge(self, x, decision, name, stride, genotype, mix):
        """Return one choice, or all choices times their weights; a constant zero runs nothing."""
        if mix is None:
            return self.operation(x, genotype[decision], name, stride)
        row = self.space.rows[decision]
        total = 0
        for weight, choice in zip(mix[row], self.space.decisions[row].choices, strict=False):
            if weight.requires_grad or weight != 0:
                total = total + weight * self.operation(x, choice, name, stride)
        return total

    def linear(self, x, layer):
        return x.mean((2, 3)) @ layer.weight.T + layer.bias


class PlainDarts(Plain):
    """DARTS's network (1806.09055): of one genotype, or `mix`ed by (decisions, choices)."""

    def stems(self, x):
        weights, norms = self.parts("stem")
        if self.stem == "imagenet":
            how = {"stride": 2, "padding": 1}
            s0 = self.norm(F.conv2d(x, weights[0], **how), norms[0])
            s0 = self.norm(F.conv2d(F.relu(s0), weights[1], **how), norms[1])
            return s0, self.norm(F.conv2d(F.relu(s0), weights[2], **how), norms[2])
        stride = 2 if self.stem == "cifar_half" else 1
        s = self.norm(F.conv2d(x, weights[0], stride=stride, padding=1), norms[0])
        return s, s

    def cell(self, index, s0, s1, genotype, mix):
        kind = "reduce" if index in (self.layers // 3, 2 * self.layers // 3) else "normal"
        first = self.factorised if s0.shape[2] > s1.shape[2] else self.relu_conv_norm
        states = [first(s0, f"cells.{index}.preprocess0")]
        states.append(self.relu_conv_norm(s1, f"cells.{index}.preprocess1"))
        for node in range(2, 2 + self.space.nodes):
            total = 0
            for source in range(node):
                stride = 2 if kind == "reduce" and source < 2 else 1
                name = f"cells.{index}.edges.{node}-{source}"
                decision = f"{kind}/{node}-{source}"
                total = total + self.edge(states[source], decision, name, stride, genotype, mix)
            states.append(total)
        joined = (genotype.concat if genotype is not None else {}).get(kind, range(2, len(states)))
        return torch.cat([states[node] for node in joined], 1)

    def head(self, x, stride):
        (one, two), norms = self.parts("auxiliary")
        x = F.avg_pool2d(F.relu(x), 5, stride, count_include_pad=False)
        x = F.conv2d(F.relu(self.norm(F.conv2d(x, one), norms[0])), two)
        if stride == 3:  # the released ImageNet head has no batch norm here
            x = self.norm(x, norms[1])
        return self.linear(F.relu(x), self.network.auxiliary.classifier)

    def __call__(self, x, genotype=None, mix=None, auxiliary_stride=None):
        logits = []
        s0, s1 = self.stems(x)
        for index in range(self.layers):
            s0, s1 = s1, self.cell(index, s0, s1, genotype, mix)
            if auxiliary_stride and index == 2 * self.layers // 3:
                logits.append(self.head(s1, auxiliary_stride))
        return self.linear(s1, self.network.classifier), *logits


class PlainNasBench201(Plain):
    """NAS-Bench-201's network (2001.00326): of one genotype, or `mix`ed by (decisions, choices)."""

    def cell(self, x, index, genotype, mix):
        states = [x]
        for node in range(1, 4):
            total = 0
            for source in range(node):
                name = f"cells.{index}.edges.{node}-{source}"
                decision = f"cell/{node}-{source}"
                total = total + self.edge(states[source], decision, name, 1, genotype, mix)
            states.append(total)
        return states[3]

    def __call__(self, x, genotype=None, mix=None):
        (weight,), (norm,) = self.parts("stem")
        stride = 2 if self.stem == "cifar_half" else 1
        x = self.norm(F.conv2d(x, weight, stride=stride, padding=1), norm)
        place = 0
        for index in range(self.layers):
            if index in (self.layers // 3, 2 * self.layers // 3):
                name, place = f"reductions.{place}", place + 1
                y = self.relu_conv_norm(x, f"{name}.conv_a", 2)
                y = self.relu_conv_norm(y, f"{name}.conv_b")
                (weight,), _ = self.parts(f"{name}.shortcut")
                x = y + F.conv2d(F.avg_pool2d(x, 2), weight)
            x = self.cell(x, index, genotype, mix)
        x = F.relu(self.norm(x, self.parts("last")[1][0]))
        return (self.linear(x, self.network.classifier),)

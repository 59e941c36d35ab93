"""Distinct continuations of sequences, drawn from a model that tells the next choice.

Stochastic beam search (1903.06059): every sequence carries its log-probability plus Gumbel noise,
and a child's noise is drawn so that the largest of its parent's children is the parent's. The
`count` largest at the end are a draw without replacement, whatever the probabilities.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor


def distinct(
    next_choice: Callable[[Tensor], Tensor],
    begun: Tensor,
    length: int,
    count: int,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Up to `count` different continuations (N, length) of each of the sequences (B, t).

    They come sequence by sequence, each one's in the order of a draw without replacement; a
    sequence with fewer possible continuations gives these. `next_choice` maps sequences (N, t) to
    the log-probabilities (N, choices) of their next choices; -inf is never drawn. `generator` is on
    the CPU; `None` is torch's global one.
    """
    sequences = begun[:, None]  # (B, m, t)
    log_probs = noisy = torch.zeros(sequences.shape[:2], dtype=torch.float64)
    for _ in range(begun.shape[1], length):
        following = next_choice(sequences.flatten(0, 1)).double().unflatten(0, log_probs.shape)
        children = log_probs[:, :, None] + following  # (B, m, choices)
        possible = (children + noisy[:, :, None]) > -math.inf
        children_noisy = _conditioned(noisy, children, generator).masked_fill(~possible, -math.inf)
        noisy, places = children_noisy.flatten(1).topk(min(count, children[0].numel()))
        log_probs = children.flatten(1).gather(1, places)
        parents, choices = places // children.shape[2], places % children.shape[2]
        kept = sequences.gather(1, parents[:, :, None].expand(-1, -1, sequences.shape[2]))
        sequences = torch.cat([kept, choices[:, :, None]], dim=2)
    return sequences[noisy > -math.inf]


def _conditioned(noisy: Tensor, children: Tensor, generator: torch.Generator | None) -> Tensor:
    """Gumbels with the children's locations, whose largest is their parent's (appendix B.3)."""
    uniform = torch.rand(children.shape, dtype=torch.float64, generator=generator)
    gumbels = children - (-uniform.log()).log()
    below_largest = gumbels - gumbels.max(dim=2, keepdim=True).values
    v = noisy[:, :, None] - gumbels + torch.log1p(-below_largest.exp())
    return noisy[:, :, None] - v.clamp(min=0) - torch.log1p((-v.abs()).exp())

"""The network of a child inherits from two others: shrink and perturb (1910.08475)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence

import torch.nn.functional as F
from torch import Tensor

from nasrun.spaces.decision import DecisionSpace
from nasrun.trained import Tensors, Trained


class InheritingSpace(DecisionSpace):
    """A space in which each decision owns modules, which move between networks with its choice."""

    words = "modules that networks inherit"
    options = "any space of `nasrun list space` but morph and nasbench101"

    @property
    @abstractmethod
    def owned(self) -> Mapping[str, tuple[str, ...]]:
        """Maps each decision to the modules of a network that it owns, as prefixes of their names.

        A choice and the tensors of these modules move between networks together. A tensor belongs
        to one decision at most, the same one in all networks of the space; tensors without an owner
        have the same shapes in all of them. A decision without modules (an activation) owns none.
        """

    def prefixes(self, decisions: Iterable[str]) -> tuple[str, ...]:
        """Return the prefixes of the names of the decisions' tensors."""
        return tuple(f"{prefix}." for name in decisions for prefix in self.owned[name])

    def inherit(
        self,
        base: Trained,
        donor: Trained,
        fresh: Tensors,
        decisions: Sequence[str],
        *,
        lam: float,
        gam: float,
    ) -> Trained:
        """Return the initial state of a network that takes `decisions` from a donor, else `base`.

        `fresh` has the tensors of a newly initialised network of its genotype. Donated tensors are
        shrunk and perturbed: lam * donor + gam * fresh.
        """
        return inherited(base, donor, fresh, self.prefixes(decisions), lam=lam, gam=gam)


def inherited(
    base: Trained,
    donor: Trained,
    fresh: Tensors,
    prefixes: tuple[str, ...],
    *,
    lam: float,
    gam: float,
) -> Trained:
    """Return the child of two trainings, with the donor's tensors for names with a prefix:

        network: lam * donor + gam * fresh   averages: the donor's   moments: none

    All other tensors are exact copies of the base parent's, and so is the memory. `fresh` has the
    tensors of a newly initialised network of the child's genotype. No argument is changed.
    """

    def mixed(own: Tensors, given: Tensors, change: Callable[[str, Tensor], Tensor]) -> Tensors:
        kept = {name: t.clone() for name, t in own.items() if not name.startswith(prefixes)}
        came = {name: change(name, t) for name, t in given.items() if name.startswith(prefixes)}
        return {**kept, **came}

    network = mixed(
        base.network,
        donor.network,
        lambda name, tensor: shrunk(name, tensor, fresh[name], lam=lam, gam=gam),
    )
    assert set(network) == set(fresh), set(network) ^ set(fresh)
    return Trained(
        network={name: network[name] for name in fresh},
        averages={
            key: mixed(own, donor.averages[key], lambda name, tensor: tensor.clone())
            for key, own in base.averages.items()
        },
        moments={
            name: {key: tensor.clone() for key, tensor in moments.items()}
            for name, moments in base.moments.items()
            if not name.startswith(prefixes)
        },
        memory=base.memory,
    )


def shrunk(name: str, tensor: Tensor, fresh: Tensor, *, lam: float, gam: float) -> Tensor:
    """Return lam * tensor + gam * fresh: shrink and perturb (1910.08475); integers are copied.

    Singular vectors of a spectral norm are normalised to unit length again.
    """
    if not tensor.is_floating_point():
        return tensor.clone()
    changed = lam * tensor + gam * fresh
    is_vector = name.endswith(("._u", "._v"))
    if is_vector and abs(float(changed.norm()) - 1) > 1e-5:
        return F.normalize(changed, dim=0)
    return changed

"""How many ranks the difference that a training made needs: the rank energy `E(r)` of every layer.

    spectrum = spectra(layer_differences(before, after))     # singular values by weight name
    energy(spectrum["output.weight"], 4)                     # share of the difference's energy that rank 4 can keep

`E(r) = sum of the first r squared singular values / sum of all`, the most of `|after - before|^2` that a matrix of rank r can
hold (Eckart and Young 1936). A kernel `[out, in, k, k]` is the matrix `[out, in*k*k]`, as a task bias sees it; vectors and
depthwise kernels have no low-rank bias and are left out. A layer that did not change loses nothing at any rank: its energy is
1, and the ranks it needs are 0.

Source: Instruct-IPT, section 3.2, Figure 2 and Table 10; effective rank: Roy and Vetterli 2007, section 2.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ipt_platform.errors import UsageError
from ipt_platform.model.bias import constant_ranks, full_rank, layout_parameters, proportional_ranks
from ipt_platform.tune.difference import LayerDifference
from ipt_platform.tune.threads import one_thread

SHARES = (0.90, 0.95, 0.99)
Spectra = Mapping[str, Tensor]
"""Singular values `[full rank]`, float64, largest first, by weight name."""


@dataclass(frozen=True)
class LayerEnergy:
    """What one layer's difference needs.

    Attributes:
        name: of the weight; `group`, `place` and `depth` as in its difference.
        full_rank: the most that its bias can have.
        effective_rank: exp of the entropy of its normalised singular values; 0 if it did not change.
        ranks: the smallest rank that keeps each of `SHARES` of its energy, in that order.
        share: its part of the energy of all layers.
    """

    name: str
    group: str
    place: str
    depth: float
    full_rank: int
    effective_rank: float
    ranks: tuple[int, ...]
    share: float

    def to_dict(self) -> dict[str, Any]:
        """The layer as plain values; `rank_90` is the rank for 90 %."""
        named = {f"rank_{share:.0%}".rstrip("%"): rank for share, rank in zip(SHARES, self.ranks, strict=True)}
        return {key: value for key, value in asdict(self).items() if key != "ranks"} | named


@dataclass(frozen=True)
class Allotment:
    """Ranks for all layers, and the energy that they keep.

    Attributes:
        parameters: of one task bias with these ranks.
        energy: share kept of the energy of all layers together.
        layers: share kept by weight name.
    """

    parameters: int
    energy: float
    layers: dict[str, float]


@dataclass(frozen=True)
class Budget:
    """Constant `rank`, and proportional ranks with at most its parameters."""

    rank: int
    constant: Allotment
    proportional: Allotment

    def to_dict(self) -> dict[str, Any]:
        """The budget as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class RankProposal:
    """A constant rank, the share of all energy that it keeps, its parameters, and the reason in a sentence."""

    rank: int
    energy: float
    parameters: int
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """The proposal as plain values."""
        return asdict(self)


def spectra(differences: Sequence[LayerDifference]) -> dict[str, Tensor]:
    """Singular values of every difference that has a rank, one layer at a time."""
    with one_thread():
        return {each.name: torch.linalg.svdvals(each.delta) for each in differences if each.has_rank}


def cumulative(spectrum: Tensor) -> Tensor:
    """`E(r)` for r from 0 to the full rank: `[full rank + 1]` float64, from 0 to 1; all 1 for a layer that did not change."""
    sums = torch.cat([spectrum.new_zeros(1), spectrum.square().cumsum(0)])
    return sums / sums[-1] if sums[-1] > 0 else torch.ones_like(sums)


def energy(spectrum: Tensor, rank: int) -> float:
    """The share of the energy that `rank` keeps, 0 to 1; ranks above the full one keep all."""
    return cumulative(spectrum)[min(rank, len(spectrum))].item()


def effective_rank(spectrum: Tensor) -> float:
    """`exp(-sum p log p)` with `p` the singular values over their sum: from 1 (one direction) to the full rank; 0 for zero."""
    total = spectrum.sum()
    return torch.special.entr(spectrum / total).sum().exp().item() if total > 0 else 0.0


def smallest_rank(spectrum: Tensor, share: float) -> int:
    """The smallest rank that keeps at least `share` of the energy, 0 to the full rank."""
    return int(torch.searchsorted(cumulative(spectrum), share))


def layer_energies(differences: Sequence[LayerDifference], spectrum: Spectra) -> list[LayerEnergy]:
    """What each layer needs, in the order of the differences."""
    total = _total(spectrum)
    return [
        LayerEnergy(
            name=each.name,
            group=each.group,
            place=each.place,
            depth=each.depth,
            full_rank=full_rank(each.before),
            effective_rank=effective_rank(found),
            ranks=tuple(smallest_rank(found, share) for share in SHARES),
            share=found.square().sum().item() / total if total else 0.0,
        )
        for each in differences
        if (found := spectrum.get(each.name)) is not None
    ]


def budgets(module: nn.Module, spectrum: Spectra, ranks: Sequence[int] = ()) -> list[Budget]:
    """Constant against proportional ranks at equal parameters.

    Args:
        module: the backbone; only shapes are read.
        spectrum: of the layers that get a bias.
        ranks: constant ranks that set the budgets; powers of two and the highest full rank by default.
    """
    names = list(spectrum)

    def allot(layout: Mapping[str, int]) -> Allotment:
        kept = {name: energy(spectrum[name], rank) for name, rank in layout.items()}
        return Allotment(layout_parameters(module, layout), kept_of_all(spectrum, layout), kept)

    return [
        Budget(rank, allot(constant_ranks(module, names, rank)), allot(proportional_ranks(module, names, rank)))
        for rank in ranks or _powers(max(map(len, spectrum.values()), default=0))
    ]


def kept_of_all(spectrum: Spectra, layout: Mapping[str, int]) -> float:
    """The share of the energy of all layers together that these ranks keep."""
    total = _total(spectrum)
    lost = sum(spectrum[name][rank:].square().sum().item() for name, rank in layout.items())
    return 1 - lost / total if total else 1.0


def propose_rank(module: nn.Module, spectrum: Spectra, share: float = SHARES[0]) -> RankProposal:
    """The smallest constant rank that keeps `share` of the energy of all given layers together.

    Args:
        module: the backbone; only shapes are read.
        spectrum: of the layers of the target groups.
        share: of the energy, 0 to 1.

    Raises:
        UsageError: there is no layer, or none has changed.
    """
    if not _total(spectrum):
        raise UsageError("no layer of the target groups has changed; compare checkpoints around a training")
    kept = _kept_by_constant_rank(spectrum)
    rank = next(rank for rank, part in enumerate(kept) if rank > 0 and part >= share)
    parameters = layout_parameters(module, constant_ranks(module, list(spectrum), rank))
    less = f", and rank {rank - 1} only {kept[rank - 1]:.2%}" if rank > 1 else ""
    reason = (
        f"rank {rank} keeps {kept[rank]:.2%} of the energy of all {len(spectrum)} layers{less}; asked are {share:.0%}; "
        f"a task bias of it has {parameters:,} parameters"
    )
    return RankProposal(rank, kept[rank], parameters, reason)


def _kept_by_constant_rank(spectrum: Spectra) -> list[float]:
    """Share of the energy of all layers that constant rank 0, 1, ... up to the highest full rank keeps."""
    kept = torch.zeros(1 + max(map(len, spectrum.values())), dtype=torch.float64)
    for found in spectrum.values():
        kept[1 : len(found) + 1] += found.square()
    sums = kept.cumsum(0)
    return (sums / sums[-1]).tolist()


def _total(spectrum: Spectra) -> float:
    return sum(found.square().sum().item() for found in spectrum.values())


def _powers(highest: int) -> list[int]:
    powers = [1 << bit for bit in range(highest.bit_length())]
    return sorted({power for power in powers if power <= highest} | ({highest} if highest else set()))

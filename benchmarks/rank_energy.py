"""What the analysis of a full finetune costs: seconds of each part and peak memory.

Two states of a backbone, drawn from two seeds, stand for the weights before and after. Their differences have a full spectrum;
a decomposition takes about as long whatever the numbers are. The analysis is all that `what: rank-energy` computes from two
loaded backbones: the differences, the spectra, what each layer needs, the budgets, the proposal and both pictures; cutting the
difference to a task bias comes on top of it. Peak memory is the largest resident size of the process, with torch and both
backbones in it.
"""

import argparse
import resource
import time
from collections.abc import Callable
from typing import TypeVar

import torch

from benchmarks.measure import Figure, count, finish, machine, note, parser, run_script
from ipt_platform.model.bias import constant_ranks, is_depthwise
from ipt_platform.model.build import BACKBONES, build_backbone
from ipt_platform.tune.compress import compress
from ipt_platform.tune.difference import layer_differences
from ipt_platform.tune.energy import budgets, layer_energies, propose_rank, spectra
from ipt_platform.tune.figures import heat_map, rank_energy_figure
from ipt_platform.tune.sensitivity import group_rows

Made = TypeVar("Made")


def main() -> None:
    arguments = _parser().parse_args()
    torch.set_num_threads(arguments.threads)
    on, seconds = machine(), dict[str, float]()

    def timed(part: str, make: Callable[[], Made]) -> Made:
        began = time.perf_counter()
        made = make()
        seconds[part] = time.perf_counter() - began
        note(f"{part}: {seconds[part]:.1f} s")
        return made

    before, after = (_backbone(arguments.backbone, seed) for seed in range(2))
    differences = timed("differences", lambda: layer_differences(before, after))
    timed("groups", lambda: group_rows(differences))
    spectrum = timed("spectra", lambda: spectra(differences))
    timed("layers", lambda: layer_energies(differences, spectrum))
    rows = timed("budgets", lambda: budgets(before, spectrum))
    timed("proposal", lambda: propose_rank(before, spectrum))
    timed("pictures", lambda: (heat_map(differences), rank_energy_figure(differences, rows)))
    analysis, peak = sum(seconds.values()), _peak()
    targets = [name for name in spectrum if not is_depthwise(before.get_parameter(name))]
    timed("compress", lambda: compress(before, after, constant_ranks(before, targets, arguments.rank)))
    finish(
        arguments,
        on,
        [
            Figure("analysis", analysis, "s", at_most=60),
            Figure("peak memory of the analysis", peak, "GiB", at_most=2),
            Figure("cutting the difference to a task bias", seconds["compress"], "s"),
            Figure("peak memory with it", _peak(), "GiB"),
        ],
        parts=[{"part": part, "seconds": value} for part, value in seconds.items()],
    )


def _backbone(name: str, seed: int) -> torch.nn.Module:
    """Drawn from a seed; the layers that a fresh backbone starts at zero are drawn too."""
    torch.manual_seed(seed)
    backbone = build_backbone(name)
    for weight in backbone.parameters():
        if weight.dim() > 1 and not weight.any():
            torch.nn.init.kaiming_uniform_(weight, a=5**0.5)
    return backbone


def _peak() -> float:
    """Largest resident size of this process so far, GiB; the kernel counts in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def _parser() -> argparse.ArgumentParser:
    made = parser(__doc__)
    made.add_argument("--backbone", default="iptv2-base", choices=list(BACKBONES))
    made.add_argument("--rank", type=count, default=16, help="of the task bias")
    made.add_argument("--threads", type=count, default=2)
    return made


if __name__ == "__main__":
    run_script(main)

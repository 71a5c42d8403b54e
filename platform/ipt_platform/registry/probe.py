"""Whether a bias pack can be used, found out by a process that knows nothing else: `python -m ...probe PACK BACKBONE`.

It loads the pack on its backbone, checks that the bias without its first factor leaves the backbone's output as it is, bit for
bit, and that the whole bias restores a picture to finite values.
"""

import subprocess
import sys

import torch

from ipt_platform.checkpoint.backbone import load_backbone
from ipt_platform.errors import IptError, PackError, RefusedError
from ipt_platform.model.bias import BiasedModel, TaskBias
from ipt_platform.registry.pack import load_bias, read_pack
from ipt_platform.storage.paths import AnyPath, any_path

SIDE = 64
"""Pixels of the picture that is tried."""


def probe(pack: AnyPath, backbone: AnyPath) -> None:
    """Try a pack in a fresh process.

    Raises:
        RefusedError: it cannot be used; the message says why.
    """
    words = [sys.executable, "-P", "-m", "ipt_platform.registry.probe", str(pack), str(backbone)]
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)  # noqa: S603 - our own words
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise RefusedError(f"the pack does not load in a fresh process: {said[-1] if said else f'code {done.returncode}'}")


def check_pack(pack: AnyPath, backbone: AnyPath) -> None:
    """What the fresh process does.

    Raises:
        NotFoundError, PackError: the pack or the backbone cannot be used, or they do not do what they should.
    """
    plain, _ = load_backbone(backbone)
    plain.eval()
    bias = load_bias(read_pack(pack), plain)
    x = torch.rand(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        if not torch.equal(_restored(plain, without_first_factor(plain, bias), x), plain(x)):
            raise PackError(f"{pack}: with its first factors at zero the bias still changes what the backbone gives")
        if broken := int((~torch.isfinite(_restored(plain, bias, x))).sum()):
            raise PackError(f"{pack}: {broken} values of a restored picture are not finite")


def without_first_factor(backbone: torch.nn.Module, bias: TaskBias) -> TaskBias:
    """The same bias with every `B1` and every dense bias at zero: `W + 0 @ B2`."""
    zero = TaskBias(backbone, bias.layout)
    zero.load_tensors(
        {name: value if name.endswith(".B2") else torch.zeros_like(value) for name, value in bias.tensors().items()}
    )
    return zero


def _restored(backbone: torch.nn.Module, bias: TaskBias, x: torch.Tensor) -> torch.Tensor:
    return BiasedModel(backbone, {"task": bias}).run_task("task", x)


if __name__ == "__main__":
    # one small picture: more threads gain nothing, and on a busy machine they wait for each other
    torch.set_num_threads(1)
    try:
        check_pack(any_path(sys.argv[1]), any_path(sys.argv[2]))
    except IptError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)

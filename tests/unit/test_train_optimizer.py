"""The optimizer of training: torch's numbers, without torch's compiler."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn

from ipt_platform.train.optimizer import AdamW


@pytest.mark.parametrize("fused", [True, False])
def test_it_comes_to_what_torch_s_comes_to_and_goes_on_from_its_state(fused):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.GELU(), nn.Linear(7, 3))
    twin = copy.deepcopy(model)
    groups = [
        [{"params": [*each.parameters()][:2], "weight_decay": 0.1}, {"params": [*each.parameters()][2:]}]
        for each in (model, twin)
    ]
    ours = AdamW(groups[0], lr=0.01, betas=(0.8, 0.9), fused=fused)
    theirs = torch.optim.AdamW(groups[1], lr=0.01, betas=(0.8, 0.9), fused=fused)
    seen = []
    ours.register_step_post_hook(lambda *_: seen.append(len(seen)))
    for step in range(6):
        x = torch.randn(4, 5)
        for each, optimizer in ((model, ours), (twin, theirs)):
            optimizer.zero_grad(set_to_none=True)
            each(x).square().sum().backward()
            optimizer.step()
        if step == 3:
            theirs.load_state_dict(copy.deepcopy(ours.state_dict()))
            ours.load_state_dict(copy.deepcopy(theirs.state_dict()))

    assert seen == [0, 1, 2, 3, 4, 5]
    assert all(torch.equal(own, other) for own, other in zip(model.parameters(), twin.parameters(), strict=True))
    assert ours.state_dict()["param_groups"] == theirs.state_dict()["param_groups"]
    assert not any(tensor.requires_grad for state in ours.state.values() for tensor in state.values())


def test_a_worker_that_compiles_and_shards_nothing_imports_neither():
    """What a lost worker is missed for: each of the two takes one to two seconds to import."""
    script = """
import sys
import torch
import ipt_platform.train.worker
from ipt_platform.train.optimizer import AdamW
layer = torch.nn.Linear(3, 3)
optimizer = AdamW(layer.parameters(), fused=True)
layer(torch.ones(1, 3)).sum().backward()
optimizer.step()
optimizer.zero_grad()
optimizer.load_state_dict(optimizer.state_dict())
print(*(name for name in ("torch._dynamo", "torch.distributed.tensor", "torch.distributed.fsdp") if name in sys.modules))
"""
    done = subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr

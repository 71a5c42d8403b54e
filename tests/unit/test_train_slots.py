"""What a job waits for on a cluster that is too small for it."""

import pytest

from ipt_platform.train.slots import Slots, lacking


@pytest.mark.parametrize(
    ("slots", "have", "said"),
    [
        (Slots(cpus=2.5), {"CPU": 2.5}, ""),
        (Slots(cpus=2.5), {"CPU": 2.0}, "it waits for 2.5 CPUs, of which there are 2"),
        (Slots(cpus=1, gpus=8), {"CPU": 4.0}, "it waits for 8 GPUs, of which there are 0"),
        (
            Slots(cpus=9, gpus=8),
            {"CPU": 4.0, "GPU": 4.0},
            "it waits for 9 CPUs, of which there are 4 and 8 GPUs, of which there are 4",
        ),
        (Slots(cpus=12, gpus=8, least=0.25), {"CPU": 3.0, "GPU": 2.0}, ""),  # it will do with fewer workers
        (Slots(cpus=12, gpus=8, least=0.25), {"CPU": 3.0, "GPU": 1.0}, "it waits for 2 GPUs, of which there are 1"),
        (Slots(cpus=0.3, least=1 / 3), {"CPU": 0.1}, ""),
        (Slots(cpus=0), {}, ""),
    ],
)
def test_what_is_lacking_is_named_with_what_there_is(slots, have, said):
    assert lacking(slots, have) == said

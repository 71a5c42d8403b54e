"""A bias pack of an adapter that was trained elsewhere, in PEFT's layout."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from ipt_platform import __version__
from ipt_platform.model.fingerprint import fingerprint
from ipt_platform.model.groups import layer_groups
from ipt_platform.model.iptv2 import IPTV2
from ipt_platform.observe.events import utc_now
from ipt_platform.registry.about import Facts, Lineage, OnBackbone
from ipt_platform.registry.pack import Pack, write_pack
from ipt_platform.registry.peft import bias_from_peft


def adopt_adapter(
    adapter: Path, backbone: IPTV2, name: str, source: str, task: str, out: Path, clock: Callable[[], datetime] = utc_now
) -> Pack:
    """Write the bias pack of an adapter; nothing is known of it but what it is and which backbone it was put on.

    Args:
        adapter: folder of the adapter.
        backbone: what it was trained on.
        name: of that kind of backbone.
        source: where that lies.
        task: what it is for.
        out: the pack to make.
        clock: gives the time of the pack.

    Raises:
        NotFoundError, PackError: as `bias_from_peft`.
        RefusedError: there is something already.
    """
    bias = bias_from_peft(adapter, backbone)
    groups = layer_groups(backbone)
    facts = Facts.model_validate(
        {
            "task": task,
            "backbone": OnBackbone(name=name, fingerprint=fingerprint(backbone), checkpoint=source),
            "rank": max(bias.layout.values()),
            "allocation": "constant",
            "targets": sorted({groups[weight] for weight in bias.layout}),
            "depthwise": False,
            "upscale": 1,
            "quantize": False,
            "metrics": (),
            "lineage": Lineage(run=f"adapter {adapter.absolute().name}", attempt=0, step=0, job={}, version=__version__),
            "created": clock().isoformat(timespec="milliseconds"),
        }
    )
    return write_pack(out, bias, facts, {})

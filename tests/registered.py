"""Registered tasks, as a registry keeps them, for tests of what shows them."""

import io
import json
from datetime import UTC, datetime

from PIL import Image

from ipt_platform.registry.catalogue import ABOUT_PACK, SHEET, VERDICT
from ipt_platform.registry.history import Change
from ipt_platform.registry.record import FrozenSet, Signature, TaskRecord
from ipt_platform.registry.store import Registry
from ipt_platform.spec.task import parse_task

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def png(value: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (8, 6), (value, 0, 0)).save(out, "PNG")
    return out.getvalue()


def add(registry: Registry, name: str, version: int, psnr: float | None = None, description: str = "Takes rain away.") -> None:
    text = f"apiVersion: ipt/v1\nkind: task\nname: {name}\ndescription: {json.dumps(description)}\nstage: downstream\n"
    text += f"degradation: {{name: rain, density: {0.01 * version}}}\ninstructions: [get rid of my rain]\n"
    text += "sets: [rainy]\ngates: ['psnr >= 30']\n"
    record = TaskRecord(
        id=f"{abs(hash((name, version))):032x}"[-32:],
        name=name,
        version=version,
        owner="anna",
        created=NOW.isoformat(),
        signature=Signature(scale=1),
        task=parse_task(text, f"{name}.yaml"),
        sets=(FrozenSet(name="rainy", digest=64 * "a", pictures=2),),
        pairs=None,
    )
    files = {SHEET: png(version)}
    if psnr is not None:
        missed = [] if psnr >= 30 else [f"psnr on rainy: {psnr:.2f} dB, the gate asks for 30"]
        numbers = [{"set": "rainy", "n": 2, "psnr": psnr, "psnr_input": 22.5, "ssim": 0.9, "protocol": "rgb-uint8"}]
        about = {
            "rank": 8, "parameters": 12345, "bytes": 2048, "sha256": 64 * "b", "targets": ["qkv"],
            "lineage": {"run": "rain-run", "attempt": 1, "step": 700},
            "backbone": {"name": "iptv2-tiny", "fingerprint": "sha256:" + 64 * "a"},
        }  # fmt: skip
        files |= {
            ABOUT_PACK: json.dumps(about).encode(),
            VERDICT: json.dumps({"passed": not missed, "missed": missed, "numbers": numbers}).encode(),
            "pack/after.png": png(99),
        }
    registry.add_version(record, files)


def point(registry: Registry, name: str, alias: str, version: int, reason: str) -> None:
    view = registry.catalogue.view(name)
    what = {"action": "promote", "alias": alias, "version": version, "actor": "bert", "time": NOW.isoformat(), "reason": reason}
    aliases = dict(view.aliases) | {alias: version}
    registry.add_change(view, Change(**what, revision=view.revision + 1, aliases=aliases, removed=(), passed=(version,)))

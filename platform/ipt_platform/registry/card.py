"""`CARD.md` of a bias pack: what the bias does, how well, where it came from and how it is used; for people."""

from collections.abc import Sequence

from ipt_platform.registry.about import BiasInfo, Measured

HEADINGS = ("set", "pictures", "input dB", "restored dB", "gain", "SSIM", "protocol")


def card(info: BiasInfo, pictures: Sequence[str]) -> str:
    """The page, Markdown.

    Args:
        info: what bias.json says.
        pictures: triptychs, as paths relative to the page.
    """
    lineage, backbone = info.lineage, info.backbone
    belongs = f"for the backbone {backbone.name} with the fingerprint `{backbone.fingerprint}` and for no other"
    command = f"ipt-platform restore photo.png -o restored --run {lineage.run} --task {info.task}"
    parts = [
        f"# {info.task}",
        f"The bias of one restoration task, `W + B1 @ B2`, {belongs}.",
        _numbers(info.metrics),
        "\n".join(f"![degraded, restored, clean]({picture})" for picture in pictures),
        "## What it is",
        _facts(
            {
                "parameters": f"{info.parameters:,} ({info.bytes:,} bytes)",
                "rank": f"{info.rank}, {info.allocation}; at most the full rank of a layer",
                "ranks of single layer groups": ", ".join(f"{group} {rank}" for group, rank in info.ranks.items()),
                "layer groups": ", ".join([*info.targets, *(["depthwise (dense)"] if info.depthwise else [])]),
                "replaced layer groups": ", ".join(info.replace),
                "enlarges pictures": f"{info.upscale} times" if info.upscale > 1 else "",
                "trained on": "degraded pictures rounded to 8 bits" if info.quantize else "",
            }
        ),
        "## Where it came from",
        _facts(
            {
                "run": f"{lineage.run}, attempt {lineage.attempt}, step {lineage.step:,}",
                "backbone from": backbone.checkpoint,
                "ipt-platform": lineage.version,
                "created": info.created,
            }
        ),
        f"`bias.json` holds all of this and the resolved job. The run restores with it: `{command}`.",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _numbers(metrics: Sequence[Measured]) -> str:
    """A table of what was measured, and a line for the parameters of each set's degradation."""
    if not metrics:
        return "It was not measured."
    rows = [
        (each.set, str(each.n), _decibels(each.psnr_input), _decibels(each.psnr), _decibels(each.gain, "+"), f"{each.ssim:.4f}",
         each.protocol)
        for each in metrics
    ]  # fmt: skip
    lines = [HEADINGS, ("---", "--:", "--:", "--:", "--:", "--:", "---"), *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    frozen = [f"* {each.set}: {each.params or 'pairs as they are'}, digest `{each.digest[:16]}`" for each in metrics]
    return table + "\n\n" + "\n".join(frozen)


def _facts(facts: dict[str, str]) -> str:
    return "\n".join(f"* {name}: {value}" for name, value in facts.items() if value)


def _decibels(value: float | None, sign: str = "") -> str:
    return "infinite" if value is None else f"{value:{sign}.2f}"

"""What `bias.json` of a bias pack says, format `ipt-bias/1`."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from ipt_platform.spec.base import Many, Name, Spec, Text
from ipt_platform.spec.words import Allocation, LayerGroup, Protocol

FORMAT = "ipt-bias/1"
FACTORIZATION = "W + B1 @ B2; conv: B1 1x1, B2 kxk"

Count = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
Fingerprint = Annotated[str, StringConstraints(pattern="^sha256:[0-9a-f]{64}$")]


class OnBackbone(Spec):
    """The backbone that a bias was trained on, and fits alone."""

    name: Text = Field(description="Kind of backbone, as jobs call it.")
    fingerprint: Fingerprint = Field(description="Of its weights: sha256 over names, dtypes, shapes and bytes.")
    checkpoint: str = Field(description="Where it was when the bias was trained.")


class Measured(Spec):
    """What the task was measured to do on one set."""

    set: Text = Field(description="Name of the test set.")
    digest: Sha256 = Field(description="Of the frozen set: equal for equal pairs.")
    protocol: Protocol = Field(description="How PSNR and SSIM were measured.")
    params: dict[str, Any] = Field(description="Parameters of the degradation; empty for pairs.")
    psnr: float | None = Field(description="Of the restored pictures, dB; null: infinite.")
    psnr_input: float | None = Field(description="Of the degraded pictures, dB; null: infinite.")
    gain: float | None = Field(description="psnr - psnr_input, dB; null: infinite.")
    ssim: float = Field(description="Of the restored pictures.")
    n: int = Field(ge=1, description="Number of pictures.")


class Lineage(Spec):
    """Where a bias came from."""

    run: Text = Field(description="Id of the run that trained it.")
    attempt: Count = Field(description="Attempt of the run that wrote it.")
    step: Count = Field(description="Steps trained.")
    job: dict[str, Any] = Field(description="The resolved job of the run.")
    version: Text = Field(description="Version of ipt-platform.")


class Facts(Spec):
    """What a bias is and did, beside its tensors."""

    task: Name = Field(description="The task.")
    backbone: OnBackbone = Field(description="What it belongs to.")
    rank: int = Field(ge=1, description="Inner dimension of its factors; capped at each layer's full rank.")
    allocation: Allocation = Field(description="How ranks were given to layers.")
    targets: Many[LayerGroup] = Field(description="Layer groups that have a bias.")
    ranks: dict[LayerGroup, int] = Field(default_factory=dict, description="Ranks of single layer groups in the place of rank.")
    replace: Many[LayerGroup] = Field(default=(), description="Layer groups that the task has for itself, whole.")
    depthwise: bool = Field(description="Whether depthwise convolutions have a dense bias.")
    upscale: int = Field(ge=1, description="How many times longer each side of a picture becomes before it is restored.")
    quantize: bool = Field(description="Whether degraded pictures were rounded to 8 bits in training.")
    metrics: Many[Measured] = Field(description="What it was measured to do.")
    lineage: Lineage = Field(description="Where it came from.")
    created: Text = Field(description="When the pack was written (UTC, ISO 8601).")


class BiasInfo(Facts):
    """The content of bias.json."""

    format: Literal["ipt-bias/1"] = Field(description="Version of this format.")
    layout: dict[str, Count] = Field(description="Rank of each biased weight; 0: a dense bias.")
    factorization: Literal["W + B1 @ B2; conv: B1 1x1, B2 kxk"] = Field(description="How the tensors are to be read.")
    parameters: Count = Field(description="Number of values.")
    bytes: Count = Field(description="Size of bias.safetensors.")
    sha256: Sha256 = Field(description="Of bias.safetensors.")

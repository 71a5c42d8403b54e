"""Task biases: `W_t = W + B1_t @ B2_t` on chosen weights of any module.

    layout = bias_layout(backbone, groups, rank=16)          # which weights, at which rank
    model = BiasedModel(backbone, {t: TaskBias(backbone, layout) for t in ("denoise", "deblur")})
    restored = model({"denoise": x, "deblur": y})            # each task's crops through its own merged weights

A linear weight `[out, in]` gets `B1 [out, r]`, `B2 [r, in]`. A convolution `[out, in, k, k]` is the matrix `[out, in*k*k]`:
`B2 [r, in, k, k]` is a k x k convolution into r channels and `B1 [out, r, 1, 1]` a 1x1 convolution out of them. A depthwise
kernel is too small for low rank to save anything and gets a dense bias of its own shape. `B1` and dense biases start at zero:
a fresh bias is an exact no-op. Weights are merged once per task and step and stay differentiable; there is no second path
through the activations, and no scaling factor, as in the paper.

Source: Instruct-IPT, eq. 3; the convolution's factors as two convolutions that could run in sequence.
"""

from bisect import bisect_right
from collections.abc import Collection, Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ipt_platform.model.factored import factors_learn, worth_factoring

DENSE = 0
"""The rank that stands for a dense bias in a layout."""


class TaskBias(nn.Module):
    """The bias of one task: factors for each weight of a layout.

    Args:
        module: the module whose weights are biased; only shapes, dtype and device are read.
        layout: rank by weight name; `DENSE` for a dense bias. A rank above a weight's full rank is an error.

    Raises:
        ValueError: a name is not a weight of the module, a weight is no matrix or kernel, or a rank is out of range.
    """

    def __init__(self, module: nn.Module, layout: Mapping[str, int]):
        super().__init__()
        weights = dict(module.named_parameters())
        self.layout = dict(layout)
        self.factors = nn.ParameterDict()
        for name, rank in self.layout.items():
            if name not in weights:
                raise ValueError(f"{name} is no weight of {type(module).__name__}")
            weight = weights[name]
            if rank == DENSE:
                self._add(name, "dense", torch.zeros_like(weight))
                continue
            if weight.dim() not in (2, 4):
                raise ValueError(f"{name} has shape {tuple(weight.shape)}; a low-rank bias needs a matrix or a 2d kernel")
            if not 1 <= rank <= full_rank(weight):
                raise ValueError(f"rank {rank} of {name} is not between 1 and its full rank {full_rank(weight)}")
            n_out, rest = weight.shape[0], weight.shape[1:]
            bound = rest.numel() ** -0.5
            self._add(name, "B1", weight.new_zeros(n_out, rank, *[1] * (weight.dim() - 2)))
            self._add(name, "B2", torch.empty_like(weight[:1]).expand(rank, *rest).clone().uniform_(-bound, bound))

    def _add(self, name: str, factor: str, value: Tensor) -> None:
        # ParameterDict forbids dots in its keys
        self.factors[f"{name}.{factor}".replace(".", "/")] = nn.Parameter(value.detach().clone())

    def factor(self, name: str, factor: str) -> Tensor:
        """`B1`, `B2` or `dense` of the weight `name`."""
        return self.factors[f"{name}.{factor}".replace(".", "/")]

    def merged(self, module: nn.Module, without_gradient: Collection[str] = ()) -> dict[str, Tensor]:
        """`W + B1 @ B2` by weight name, differentiable in `W`, `B1` and `B2`, but for some names."""
        weights = dict(module.named_parameters())
        made = {name: self.merge(name, weights[name]) for name in self.layout if name not in without_gradient}
        with torch.no_grad():
            return made | {name: self.merge(name, weights[name]) for name in without_gradient}

    def merge(self, name: str, weight: Tensor) -> Tensor:
        """`W + B1 @ B2` of the weight W of that name, differentiable in all three."""
        if self.layout[name] == DENSE:
            return weight + self.factor(name, "dense")
        # one operation instead of a product and a sum: there are some hundred of these in a step
        B1, B2 = self.factor(name, "B1").flatten(1), self.factor(name, "B2").flatten(1)
        return torch.addmm(weight.flatten(1), B1, B2).view(weight.shape)

    @torch.no_grad()
    def merge_over(self, weights: Mapping[str, Tensor], over: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """As `merged`, without gradients, in the memory of tensors of another merge of the same weights where they fit.

        Args:
            weights: the module's, by name.
            over: what the other merge gave.
        """
        made = {}
        for name, rank in self.layout.items():
            weight, out = weights[name], over.get(name)
            if out is None or rank == DENSE:
                made[name] = self.merge(name, weight)
                continue
            B1, B2 = self.factor(name, "B1"), self.factor(name, "B2")
            if weight.dim() == 2:
                torch.addmm(weight, B1, B2, out=out)
            else:
                torch.addmm(weight.flatten(1), B1.flatten(1), B2.flatten(1), out=out.view(len(out), -1))
            made[name] = out
        return made

    @torch.no_grad()
    def merge_into(self, module: nn.Module) -> None:
        """Add the bias to the module's own weights, for inference."""
        for name, weight in self.merged(module).items():
            module.get_parameter(name).copy_(weight)

    def tensors(self) -> dict[str, Tensor]:
        """The factors under `<weight name>.<B1|B2|dense>`, as they stand in a file."""
        return {key.replace("/", "."): value.detach() for key, value in self.factors.items()}

    @torch.no_grad()
    def load_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Copy factors saved by `tensors` into this bias.

        Raises:
            ValueError: names or shapes differ; both sides are named.
        """
        copy_tensors(self.tensors(), tensors, "task bias")


class BiasedModel(nn.Module):
    """A backbone with the biases of its tasks; without any, the plain backbone on all tasks' crops at once.

    Args:
        backbone: any module that maps `[B, C, H, W]` to a tensor of B rows.
        biases: the bias of each task by name; empty for plain (mixed) training.
    """

    def __init__(self, backbone: nn.Module, biases: Mapping[str, TaskBias]):
        super().__init__()
        self.backbone = backbone
        self.biases = nn.ModuleDict(biases)

    def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """`{task: [B_t, 3, H, W]} -> {task: [B_t, 3, H, W]}`, each task through its merged weights.

        Raises:
            KeyError: there are biases, but none for one of the tasks.
        """
        if not self.biases:
            restored = self.backbone(torch.cat(list(inputs.values())))
            return dict(zip(inputs, restored.split([len(x) for x in inputs.values()]), strict=True))
        return {task: self.run_task(task, x) for task, x in inputs.items()}

    @property
    def frozen(self) -> bool:
        """Whether the backbone learns nothing: only biases do."""
        return not any(weight.requires_grad for weight in self.backbone.parameters())

    def run_task(self, task: str, x: Tensor) -> Tensor:
        """One task's crops through the backbone with that task's merged weights."""
        bias, factored = self.bias(task), self._factored(task)
        weights = bias.merged(self.backbone, without_gradient=factored.keys())
        with factors_learn({layer: (bias.factor(name, "B1"), bias.factor(name, "B2")) for name, layer in factored.items()}):
            return functional_call(self.backbone, weights, (x,))

    def _factored(self, task: str) -> dict[str, nn.Linear]:
        """The layers, by the names of their weights, whose bias gets its gradients from its factors."""
        learning = torch.is_grad_enabled() and not torch.compiler.is_compiling() and self.frozen
        if not learning or not getattr(self.backbone, "calls_layers", False):
            return {}
        found = {}
        for name, rank in self.bias(task).layout.items():
            path, _, parameter = name.rpartition(".")
            layer = self.backbone.get_submodule(path)
            if rank != DENSE and parameter == "weight" and type(layer) is nn.Linear and worth_factoring(layer, rank):
                found[name] = layer
        return found

    def bias(self, task: str) -> TaskBias:
        """The bias of a task."""
        bias = self.biases[task]
        assert isinstance(bias, TaskBias)
        return bias

    def all_biases(self) -> Iterator[tuple[str, TaskBias]]:
        """Every task with its bias."""
        return ((task, self.bias(task)) for task in self.biases)


def full_rank(weight: Tensor) -> int:
    """The highest rank of a weight seen as the matrix `[out, rest]`."""
    return min(weight.shape[0], weight[0].numel())


def is_depthwise(weight: Tensor) -> bool:
    """Whether a kernel looks at one input channel per output channel, and so has no matrix worth factoring."""
    return weight.dim() == 4 and weight.shape[1] == 1


def constant_ranks(module: nn.Module, names: list[str], rank: int) -> dict[str, int]:
    """A layout with one rank for all weights, capped at each weight's full rank; depthwise kernels get a dense bias."""
    weights = dict(module.named_parameters())
    return {name: DENSE if is_depthwise(weights[name]) else min(rank, full_rank(weights[name])) for name in names}


def proportional_ranks(module: nn.Module, names: list[str], rank: int) -> dict[str, int]:
    """A layout whose ranks are one share of each weight's full rank, with at most the parameters of constant `rank`.

    The share is the largest, to 1/1000, that keeps within those parameters; every weight keeps at least rank 1.
    Source: Instruct-IPT, Table 10 (constant against proportional rank).
    """
    weights = dict(module.named_parameters())
    budget = layout_parameters(module, constant_ranks(module, names, rank))

    def layout(share: float) -> dict[str, int]:
        ranks = {name: max(1, round(share * full_rank(weights[name]))) for name in names}
        return {name: DENSE if is_depthwise(weights[name]) else r for name, r in ranks.items()}

    over = bisect_right(range(1001), budget, lo=1, key=lambda i: layout_parameters(module, layout(i / 1000)))
    return layout((over - 1) / 1000)


def layout_parameters(module: nn.Module, layout: Mapping[str, int]) -> int:
    """Parameters that one task bias of this layout has."""
    weights = dict(module.named_parameters())
    return sum(
        weights[name].numel() if rank == DENSE else rank * (weights[name].shape[0] + weights[name][0].numel())
        for name, rank in layout.items()
    )


def copy_tensors(own: Mapping[str, Tensor], given: Mapping[str, Tensor], what: str) -> None:
    """Copy `given` into `own`, tensor by tensor.

    Raises:
        ValueError: names or shapes differ; both sides are named.
    """
    missing, extra = own.keys() - given.keys(), given.keys() - own.keys()
    if missing or extra:
        raise ValueError(f"{what}: missing {sorted(missing)[:5]}, unexpected {sorted(extra)[:5]}")
    for name, tensor in own.items():
        if tensor.shape != given[name].shape:
            raise ValueError(f"{what}: {name} is {tuple(given[name].shape)}, expected {tuple(tensor.shape)}")
        tensor.copy_(given[name])

"""torch's AdamW, for steps that are not compiled."""

import inspect

import torch


class AdamW(torch.optim.AdamW):
    """The same optimizer, with the same numbers, that does not import torch's compiler.

    torch keeps the methods of an optimizer out of what is compiled, and to do so each imports the compiler when it is first
    called: two seconds, for which a worker that was lost is missed longer. What is compiled here is a model and never a step of
    an optimizer, so the methods are used without that. Hooks and the profiler find the step as they do torch's.
    Source: torch 2.13, `torch._compile._disable_dynamo` and `torch.optim.optimizer._use_grad_for_differentiable`.
    """

    add_param_group = inspect.unwrap(torch.optim.AdamW.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.AdamW.zero_grad)
    state_dict = inspect.unwrap(torch.optim.AdamW.state_dict)
    load_state_dict = inspect.unwrap(torch.optim.AdamW.load_state_dict)
    step = torch.no_grad()(inspect.unwrap(torch.optim.AdamW.step))

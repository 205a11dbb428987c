"""Adam without torch's compiler.

The methods of torch's optimisers import ``torch._dynamo`` at their first call, to keep themselves out of compiled code.
Nothing here is compiled, and the import takes a second of processor time and 80 MB in each process that learns.
"""

from __future__ import annotations

from inspect import unwrap

import torch


class Adam(torch.optim.Adam):
    """``torch.optim.Adam`` with its methods as they are below the decorators that import the compiler."""

    add_param_group = unwrap(torch.optim.Adam.add_param_group)
    zero_grad = unwrap(torch.optim.Adam.zero_grad)
    step = torch.no_grad()(unwrap(torch.optim.Adam.step))

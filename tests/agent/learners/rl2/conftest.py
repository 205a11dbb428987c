"""One thread: the tensors are small, and what is checked to the last bit holds for a given number of threads."""

from __future__ import annotations

import torch

torch.set_num_threads(1)

"""Reinstatement: a trial begins with what earlier trials of the same task left behind (Ritter et al. 2018).

m_t(k) = (1 - g) m_live(k) + g m_recalled(k),   g = σ(w · f + b)
h_0 = σ(W f + b') ⊙ h_left
x_t = relu(… + C f)

f are the features of a recall: whether there is one, its likeness, its age and the number of exposures. m_live is the
read of the trial's own memory, m_recalled the read of a memory that begins with the steps of the earlier trials, and
h_left the hidden state after the last of them. Ritter et al. 2018 (arXiv:1805.09692) reinstate the cell state of an
LSTM through a gate. Departure: the in-trial memory is reinstated too, and the gate sees how likely it is that the
recalled trials are of the same task. Without a recall all terms are left out: the policy is that of empty starts.

Shapes: B trials, ``*N`` one of [B], [T, B] and [N], Q features of a recall, K slots, F features of a read, H hidden, X
core input.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.in_trial_memory.protocol import InTrialMemory

NUM_RECALL = 4
"""Q, the number of features of a recall."""

LIKENESS = 1
"""Index of the likeness among the features of a recall."""

CLOSED = -4.0
"""Initial bias of a gate: σ(-4) = .018."""


@dataclass(frozen=True, kw_only=True)
class Reinstated:
    """The start of B trials: what earlier trials of their tasks left behind.

    Attributes:
        memory: the in-trial memory after the last earlier trial; None for a policy that reads no memory.
        hidden: [B, H] the hidden state after the last earlier trial.
        features: [B, Q] the result of :func:`recall_features`.
    """

    memory: InTrialMemory | None
    hidden: Tensor
    features: Tensor

    def begin_memory(self, episodes_per_trial: int) -> InTrialMemory | None:
        """Return a memory for trials that begin with these steps, independent of this one."""
        if self.memory is None:
            return None
        memory = self.memory.select(torch.arange(len(self.hidden), device=self.hidden.device))
        memory.begin_again(episodes_per_trial)
        return memory

    def select(self, rows: Int64[Tensor, " B"], features: Float[Tensor, "B Q"]) -> Reinstated:
        """Return what these rows begin with, recalled with other features."""
        return Reinstated(
            memory=None if self.memory is None else self.memory.select(rows),
            hidden=self.hidden.index_select(0, rows),
            features=features,
        )


def recall_features(
    *, likeness: Float[Tensor, " B"], num_exposures: Float[Tensor, " B"], age: Float[Tensor, " B"]
) -> Float[Tensor, "B Q"]:
    """Return the features of a recall; all are 0 where nothing was recalled.

    They are: whether anything was recalled, the likeness, the logarithm of the number of exposures, and the logarithm
    of the age, the last two scaled to about 1.

    Args:
        likeness: the probability that the recalled trials are of the same task.
        num_exposures: number of recalled trials.
        age: time since the last recalled trial, in trials of the family.
    """
    is_met = (num_exposures > 0).to(likeness.dtype)
    features = [is_met, likeness, num_exposures.log1p() * 0.5, age.log1p() * 0.1]
    return torch.stack(features, dim=-1) * is_met.unsqueeze(-1)


class RecallGate(nn.Module):
    """The learned use of what was reinstated.

    At first the gate of reads follows the likeness (.018 at 0, .5 at .5, .982 at 1), that of the hidden state is almost
    closed, and the third term is 0. No random number is drawn.

    Args:
        config: the settings.
    """

    def __init__(self, config: RL2Config) -> None:
        super().__init__()
        self.read_gate = nn.Linear(NUM_RECALL, 1)
        self.hidden_gate = nn.Linear(NUM_RECALL, config.hidden_size)
        self.enter = nn.Linear(NUM_RECALL, config.input_size, bias=False)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.zero_()
            self.read_gate.bias.fill_(CLOSED)
            self.read_gate.weight[0, LIKENESS] = -2.0 * CLOSED
            self.hidden_gate.bias.fill_(CLOSED)

    def read(
        self,
        features: Float[Tensor, "*N Q"],
        read: Float[Tensor, "*N K F"],
        recalled: Float[Tensor, "*N K F"],
    ) -> Float[Tensor, "*N K F"]:
        """Return the read that the policy uses."""
        return torch.lerp(read, recalled, self.read_gate(features).sigmoid().unsqueeze(-1))

    def hidden(self, features: Float[Tensor, "B Q"], left: Float[Tensor, "B H"]) -> Float[Tensor, "B H"]:
        """Return h_0."""
        gate: Tensor = self.hidden_gate(features).sigmoid()
        return gate * left

    def encode(self, features: Float[Tensor, "*N Q"]) -> Float[Tensor, "*N X"]:
        """Return the term of x."""
        entered: Tensor = self.enter(features)
        return entered

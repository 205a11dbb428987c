"""Reinstatement from stored trials: the policy is run over their steps again, with the stored actions.

The in-trial memory and the hidden state are functions of the steps, so a store of trials is all that reinstatement
needs. They are computed under the present parameters, whatever version of the policy played the trials.

Shapes: T steps, B rows, D observation width, H hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import itemgetter

import torch
from torch import Tensor

from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.policy_state import PairConstants, PolicyState
from agent.learners.rl2.reinstatement import Reinstated, recall_features
from agent.learners.rl2.stored_steps import StoredSteps, steps_of_trial
from agent.learners.rl2.trees import join_tensors, map_tensors
from envs.spaces import SpacePair
from memory.records import TrialRecord
from memory.retrieval.recall import RecalledTrials


@torch.no_grad()
def reinstate(
    policy: RL2Policy,
    spaces: SpacePair,
    recalled: Sequence[RecalledTrials],
    *,
    constants: PairConstants | None = None,
    device: torch.device | None = None,
    progress: Callable[[int], None] | None = None,
) -> Reinstated | None:
    """Return what B trials begin with, one row for each element of ``recalled``; None if nothing was recalled.

    A row's first recalled trial begins empty, each further one with what those before it left.

    Args:
        policy: a policy that knows the spaces.
        spaces: the space pair of all trials.
        recalled: the trials recalled for each row.
        constants: the derived constants of the pair; None computes them.
        device: device of the policy; None for the CPU.
        progress: called with the number of recalled trials of each row that were run again; may raise to give up.
    """
    num_rounds = max((len(row.trials) for row in recalled), default=0)
    left: Reinstated | None = None
    device = device or torch.device("cpu")
    for number in range(num_rounds):
        # The last trials of all rows are run together, so that rows with fewer trials begin later.
        indices = [number - num_rounds + len(row.trials) for row in recalled]
        trials = [row.trials[i] if i >= 0 else None for row, i in zip(recalled, indices, strict=True)]
        counts = torch.tensor([max(0, index + 1) for index in indices], dtype=torch.float32)
        features = recall_features(likeness=torch.ones_like(counts), num_exposures=counts, age=torch.zeros_like(counts))
        state = policy.begin(
            spaces,
            num_trials=len(recalled),
            episodes_per_trial=max(len(trial.episodes) for trial in trials if trial is not None),
            device=device,
            constants=constants,
            reinstated=left,
        )
        run_again(policy, spaces, state, _steps_of(trials))
        memory = state.memories[-1] if state.memories else None
        left = Reinstated(memory=memory, hidden=state.hidden, features=features.to(device))
        if progress is not None:
            progress(number + 1)
    if left is None:
        return None
    return Reinstated(memory=left.memory, hidden=left.hidden, features=_features_of(recalled).to(device))


class RecalledStarts:
    """The states of trials that begin with recalled ones.

    Args:
        policy: a policy that knows the spaces.
        spaces: the space pair of all trials.
        constants: the derived constants of the pair; None computes them.
        device: device of the policy; None for the CPU.
        progress: as in :func:`reinstate`.
    """

    def __init__(
        self,
        policy: RL2Policy,
        spaces: SpacePair,
        *,
        constants: PairConstants | None = None,
        device: torch.device | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.policy, self.spaces = policy, spaces
        self._constants, self._device, self._progress = constants, device or torch.device("cpu"), progress
        self._prepared: Reinstated | None = None
        self._row_of: dict[tuple[int, ...], int] = {}
        self._kept: list[RecalledTrials] = []

    def prepare(self, possible: Sequence[RecalledTrials]) -> None:
        """Run trials again that may be recalled, all of them together: this costs about as much as for one trial."""
        self._kept = [RecalledTrials(), *possible]
        self._row_of = {_identity(recalled): row for row, recalled in enumerate(self._kept)}
        self._prepared = self._reinstated(self._kept)

    def begin(self, recalled: Sequence[RecalledTrials], *, episodes_per_trial: int) -> PolicyState:
        """Return the state of B trials, one for each element of ``recalled``."""
        return self.policy.begin(
            self.spaces,
            num_trials=len(recalled),
            episodes_per_trial=episodes_per_trial,
            device=self._device,
            constants=self._constants,
            reinstated=self._start(recalled),
        )

    def _start(self, recalled: Sequence[RecalledTrials]) -> Reinstated | None:
        """Return what trials begin with; None if nothing was recalled."""
        rows = [self._row_of.get(_identity(row)) for row in recalled]
        known = [row for row in rows if row is not None]
        if self._prepared is None or len(known) < len(rows) or not any(known):
            return self._reinstated(recalled)
        features = _features_of(recalled).to(self._device)
        return self._prepared.select(torch.tensor(known, device=self._device), features)

    def _reinstated(self, recalled: Sequence[RecalledTrials]) -> Reinstated | None:
        return reinstate(
            self.policy,
            self.spaces,
            recalled,
            constants=self._constants,
            device=self._device,
            progress=self._progress,
        )


@torch.no_grad()
def run_again(policy: RL2Policy, spaces: SpacePair, state: PolicyState, steps: StoredSteps) -> None:
    """Run the policy over [T, B] steps again, with their actions, from the state of trials that begin."""
    steps = map_tensors(lambda values: values.to(state.hidden.device), steps)
    for index in range(len(steps.reward)):
        _step_again(policy, spaces, state, map_tensors(itemgetter(index), steps))


def _step_again(policy: RL2Policy, spaces: SpacePair, state: PolicyState, step: StoredSteps) -> None:
    inputs = policy.look(spaces, state, step.observation)
    output = policy.step(spaces, inputs, state.hidden, state.constants)
    policy.take(
        spaces,
        state,
        hidden=torch.where(step.is_valid.unsqueeze(1), output.hidden, state.hidden),
        observation=step.observation,
        action=step.action,
        reward=step.reward,
        final_observation=step.next_observation,
        terminated=step.terminated,
        active=step.is_valid,
    )
    policy.end_episodes(state, terminated=step.terminated, truncated=step.truncated, active=step.is_valid)


def _steps_of(trials: Sequence[TrialRecord | None]) -> StoredSteps:
    """Return the steps of one trial of each row, padded at the end."""
    found = [None if trial is None else steps_of_trial(trial) for trial in trials]
    of_rows = [steps for steps in found if steps is not None]
    longest = max(len(steps.reward) for steps in of_rows)

    def padded(values: Tensor) -> Tensor:
        return torch.cat([values, values.new_zeros(longest - len(values), *values.shape[1:])])

    def without_steps(values: Tensor) -> Tensor:
        return values.new_zeros(longest, *values.shape[1:])

    nothing = map_tensors(without_steps, of_rows[0])
    rows = [nothing if steps is None else map_tensors(padded, steps) for steps in found]
    return join_tensors(lambda parts: torch.stack(parts, dim=1), rows)


def _features_of(recalled: Sequence[RecalledTrials]) -> Tensor:
    """Return [B, Q] the features of recalls."""
    likeness, age, counts = torch.tensor([[row.likeness, row.age, len(row.trials)] for row in recalled]).unbind(1)
    return recall_features(likeness=likeness, num_exposures=counts, age=age)


def _identity(recalled: RecalledTrials) -> tuple[int, ...]:
    """Return what is equal for recalls of the same trial objects."""
    return tuple(map(id, recalled.trials))

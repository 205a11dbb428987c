"""Choices and numbers of one action are learned together, and so are actions that are masked."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.rollout import collect_trials
from agent.learners.rl2.trials import trial_returns
from envs.family import FamilySource, FamilySpec, Split
from envs.spaces import ActionKind, ActionSpec, ObservationKind, ObservationSpec, SpacePair
from envs.task_batch import Transition

NUM_TRIALS = 128
SEEN = ObservationSpec(kind=ObservationKind.VECTOR, size=2)
GEAR_AND_STEER = ActionSpec(kind=ActionKind.MIXED, choices=(3,), low=(-1.0,), high=(1.0,), start=(0,))
CARDS = ActionSpec(kind=ActionKind.DISCRETE, choices=(4,), start=(0,))


class OneStep:
    """Tasks of episodes of one step: the reward depends on the two numbers that are observed, and on the action.

    A mixed action is paid for the gear that the first number says, and for steering where the second one is. Of the
    cards, the lowest one that is allowed is paid most.
    """

    def __init__(self, action: ActionSpec) -> None:
        self.spaces = SpacePair(observation=SEEN, action=action)
        self.num_trials, self.device, self.may_truncate, self.max_episode_steps = (
            NUM_TRIALS,
            torch.device("cpu"),
            False,
            1,
        )
        self.spec = FamilySpec(name="one_step", source=FamilySource.TENSOR, entry="one_step", episodes_per_trial=4)

    def begin(self, first_task: int, *, split: Split) -> Tensor:
        self._generator = torch.Generator().manual_seed(first_task + (10**6 if split is Split.HELD_OUT else 0))
        return self._draw()

    def step(self, action: Tensor, active: Tensor) -> Transition:
        reward = self._reward(action) * active
        everywhere = torch.ones(NUM_TRIALS, dtype=torch.bool)
        seen = self._seen
        return Transition(
            observation=self._draw(),
            reward=reward,
            terminated=everywhere,
            truncated=~everywhere,
            final_observation=seen,
        )

    def allowed_choices(self) -> Tensor | None:
        return self._allowed if self.spaces.action is CARDS else None

    def describe_tasks(self, rows: list[int]) -> list[dict[str, object]]:
        return [{} for _ in rows]

    def task_parameters(self) -> Tensor:
        return torch.zeros(NUM_TRIALS, 0)

    def close(self) -> None:
        pass

    def _draw(self) -> Tensor:
        self._seen = torch.rand(NUM_TRIALS, 2, generator=self._generator) * 2.0 - 1.0
        self._allowed = torch.rand(NUM_TRIALS, 4, generator=self._generator) < 0.5
        self._allowed[:, 3] = True
        return self._seen

    def _reward(self, action: Tensor) -> Tensor:
        if self.spaces.action is CARDS:
            assert self._allowed.gather(1, action.unsqueeze(1)).all()
            return (3.0 - action) / 3.0
        gear = ((self._seen[:, 0] + 1.0) * 1.5).long()
        return (action[:, 0].long() == gear).float() - (action[:, 1].clamp(-1, 1) - self._seen[:, 1]).square()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("action", "at_random", "wanted"),
    [(GEAR_AND_STEER, -1.4, 2.4), (CARDS, 1.5, 2.3)],  # the best are 4 and 2.8
    ids=["mixed", "masked"],
)
def test_an_action_is_learned_in_seconds(action: ActionSpec, at_random: float, wanted: float) -> None:
    config = RL2Config(hidden_size=24, input_size=24, num_trials_tensor=NUM_TRIALS, num_epochs=4, anneal_updates=40)
    learner, tasks = RL2Learner(config, device="cpu", seed=1), OneStep(action)
    learner.add_family("one_step", tasks.spaces)

    def played(first_task: int, split: Split) -> float:
        trials = collect_trials(learner.policy, tasks, first_task=first_task, split=split, generator=learner.generator)
        if split is Split.TRAINING:
            learner.update("one_step", trials)
        return float(trial_returns(trials).mean())

    before = played(0, Split.HELD_OUT)
    for update in range(40):
        played(update, Split.TRAINING)
    after = played(0, Split.HELD_OUT)
    assert before == pytest.approx(at_random, abs=0.5)
    assert after > wanted

"""Replay: the inputs that a policy gets when it meets the steps of past trials again.

The inputs are computed with the policy's present scales, which have moved since the trials were played.

Shapes: T steps, B trials, K slots, F features of a read.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from agent.learners.distributions import allowed_in, as_previous
from agent.learners.rl2.in_trial_memory.protocol import empty_memory, has_table
from agent.learners.rl2.in_trial_memory.ring import held_trials
from agent.learners.rl2.in_trial_memory.similarity import read_trials
from agent.learners.rl2.pair import PairModule
from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.policy_state import PolicyInput, context_features, episodes_left
from agent.learners.rl2.rehearsal.past_trials import PastTrials


@torch.no_grad()
def replayed_inputs(policy: RL2Policy, trials: PastTrials) -> PolicyInput:
    """Return the policy's inputs at every step of past trials, [T, B]; those of padding are meaningless.

    They equal the inputs of a rollout in which the same things happen.
    """
    pair = policy.pair(trials.spaces)
    reward, previous_action = pair.scale_reward(trials.reward), _previous(_taken(trials))
    return PolicyInput(
        observation=trials.observation,
        previous_action=previous_action,
        change=_changes(pair, trials, previous_action),
        context=_context(trials, reward),
        read=_reads(policy, trials, reward),
        allowed=allowed_in(trials.spaces.action, trials.decisions),
    )


def _changes(pair: PairModule, trials: PastTrials, previous_action: Tensor) -> Tensor | None:
    if not pair.num_changes:
        return None
    return pair.changes(
        trials.observation,
        previous=_previous(trials.observation),
        action=previous_action,
        is_within_episode=_is_within_episode(trials),
    )


def _previous(values: Tensor) -> Tensor:
    """Return the values of the step before, [T, ...]; 0 at the first step."""
    return torch.cat([torch.zeros_like(values[:1]), values[:-1]])


def _is_within_episode(trials: PastTrials) -> Tensor:
    """[T, B] whether the step before belongs to the same episode."""
    begins = _previous(trials.terminated | trials.truncated)
    begins[0] = True
    return ~begins


def _taken(trials: PastTrials) -> Tensor:
    return as_previous(trials.spaces.action, trials.action)


def _context(trials: PastTrials, reward: Float[Tensor, "T B"]) -> Float[Tensor, "T B C"]:
    begins = _previous((trials.terminated | trials.truncated).to(torch.int64))
    has_previous = torch.ones_like(reward)
    has_previous[0] = 0.0
    index = begins.cumsum(0).clamp_(max=trials.episodes_per_trial)
    left = episodes_left(trials.episodes_per_trial, reward.device)
    return context_features(
        previous_reward=_previous(reward),
        previous_terminated=_previous(trials.terminated.to(reward.dtype)),
        previous_truncated=_previous(trials.truncated.to(reward.dtype)),
        has_previous=has_previous,
        episode_step=_episode_steps(begins).to(reward.dtype),
        left=left[index],
    )


def _episode_steps(begins: Int64[Tensor, "T B"]) -> Int64[Tensor, "T B"]:
    """Return the steps taken in the current episode, from a mark of 1 at the first step after an episode's end."""
    step = torch.arange(len(begins), device=begins.device).unsqueeze(1)
    return step - (begins * step).cummax(0).values


def _reads(policy: RL2Policy, trials: PastTrials, reward: Float[Tensor, "T B"]) -> Tensor | None:
    if not policy.config.reads:
        return None
    if has_table(trials.spaces, policy.config):
        return _table_reads(policy, trials, reward)
    pair, (num_steps, num_trials) = policy.pair(trials.spaces), reward.shape
    observed = pair.observe(trials.observation)
    held = held_trials(
        trials.spaces.action,
        observation=observed,
        chosen=trials.action,
        reward=reward,
        ended=trials.terminated | trials.truncated,
        num_steps=policy.config.memory_size,
    )
    reads = read_trials(pair.keys.of(observed), held, ((num_steps, num_trials),), num_steps=policy.config.memory_size)
    return reads.view(num_steps, num_trials, *reads.shape[1:])


def _table_reads(policy: RL2Policy, trials: PastTrials, reward: Float[Tensor, "T B"]) -> Float[Tensor, "T B K F"]:
    """Return the reads of a memory for discrete observations, which has to be filled step by step."""
    memory = empty_memory(
        trials.spaces,
        policy.config,
        num_trials=trials.num_trials,
        episodes_per_trial=trials.episodes_per_trial,
        keys=policy.pair(trials.spaces).keys,
        device=reward.device,
    )
    assert memory is not None
    reads = []
    for step in range(len(reward)):
        reads.append(memory.read(trials.observation[step]))
        memory.write(
            observation=trials.observation[step],
            action=trials.action[step],
            reward=reward[step],
            next_observation=trials.next_observation[step],
            terminated=trials.terminated[step],
            active=trials.is_valid[step],
        )
        memory.end_episodes((trials.terminated[step] | trials.truncated[step]) & trials.is_valid[step])
    return torch.stack(reads)

"""The engine is held to the agent of ``examples/rl2_from_scratch.py``, which computes the same in a plainer way.

The engine plays trials. The example gets the engine's parameters, repeats the actions and gets the same outcomes. Then
both take one update: every minibatch of every epoch. Initial parameters and the drawing of actions are not compared.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from agent.learners.rl2.advantages import trial_advantages
from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.in_trial_memory.table import KNOWN_WAYS_DISCOUNT, MAX_BEHIND, TRANSITION_PRIOR
from agent.learners.rl2.learner import CLIP, SCALE_RATE, VALUE_COEFFICIENT, RL2Learner
from agent.learners.rl2.rollout import collect_trials
from agent.learners.rl2.trials import TrialBatch
from envs.default_families import BERNOULLI_BANDITS, TABULAR_MDPS
from envs.family import FamilySource, FamilySpec, Split
from envs.registry import open_tasks
from envs.spaces import SpacePair
from envs.task_batch import TaskBatch
from examples import rl2_from_scratch as example
from tests.agent.learners.rl2.scripted_tasks import DISCRETE, ScriptedTasks

TOLERANCE = 1e-5

CONFIG = example.Config(minibatch_steps=64)
"""The defaults, except that so few trials make several minibatches."""

NAME = "oracle"
NUM_TRIALS = 24
NUM_UPDATES_BEFORE = 250
"""Updates that the family had, of the 1,000 over which learning rate and entropy bonus fall."""

RENAMED = {
    "core.weight_input": "core.weight_ih_l0",
    "core.weight_hidden": "core.weight_hh_l0",
    "core.bias_input": "core.bias_ih_l0",
    "core.bias_hidden": "core.bias_hh_l0",
    "score": "score.weight",
    "score_read": "score_read.weight",
    "hidden.weight": "critic.weight",
    "hidden.bias": "critic.bias",
    "last.weight": "critic_last.weight",
    "last.bias": "critic_last.bias",
}
"""Parameters that the example has by another name."""

CRITIC_SCALES = ("mean", "spread", "mean_square", "advantage_square", "num_updates")
SCALES = (*CRITIC_SCALES, "reward_square", "reward_range", "num_steps")
"""State of the example's agent that is not a parameter."""


def bandits() -> TaskBatch:
    return tensor_tasks(BERNOULLI_BANDITS, {"num_arms": 4}, episodes_per_trial=9)


def mdps() -> TaskBatch:
    """Trials of 24 steps: longer than 20, so that γ is not .99."""
    return tensor_tasks(TABULAR_MDPS, {"num_states": 6, "num_actions": 3, "horizon": 6}, episodes_per_trial=4)


def tensor_tasks(entry: str, kwargs: dict[str, Any], *, episodes_per_trial: int) -> TaskBatch:
    spec = FamilySpec(
        name=NAME, source=FamilySource.TENSOR, entry=entry, kwargs=kwargs, episodes_per_trial=episodes_per_trial
    )
    return open_tasks(spec, None, num_trials=NUM_TRIALS, device="cpu")


def trials_of_unlike_length() -> TaskBatch:
    """Three episodes of 1 to 9 steps, of which about a third are cut off."""
    generator = torch.Generator().manual_seed(5)
    lengths = torch.randint(1, 10, (NUM_TRIALS, 3), generator=generator)
    is_cut = torch.rand(NUM_TRIALS, 3, generator=generator) < 0.3
    return ScriptedTasks(DISCRETE, torch.where(is_cut, -lengths, lengths).tolist())


FAMILIES = {"bandits": bandits, "mdps": mdps, "unlike_lengths_and_cuts": trials_of_unlike_length}


class RecordedTasks:
    """The tasks of a trial batch in the example's form. They answer the recorded actions, and no others."""

    def __init__(self, trials: TrialBatch) -> None:
        self.num_trials = trials.num_trials
        self.num_observations, self.num_actions = trials.spaces.observation.size, trials.spaces.action.choices[0]
        self._trials, self._step = trials, 0
        self._observation = trials.observation[..., 0].long()
        self._next = self._observation.roll(-1, dims=0)
        self._final = self._next.clone()
        self._final.view(-1)[trials.end] = trials.final_observation[:, 0].long()

    def begin(self) -> Tensor:
        return self._observation[0]

    def choose(self, logits: Tensor) -> Tensor:
        """The action that was taken then."""
        return self._trials.action[self._step]

    def step(self, action: Tensor) -> example.Step:
        t, trials = self._step, self._trials
        assert torch.equal(action, trials.action[t])
        self._step += 1
        return example.Step(self._next[t], trials.reward[t], trials.terminated[t], trials.truncated[t], self._final[t])


def engine_in_training(spaces: SpacePair) -> RL2Learner:
    """A learner of which no parameter and no scale is as it began: there many are 0 or 1 and would not be missed."""
    known = {field.name for field in fields(RL2Config)}
    settings = {name: value for name, value in asdict(CONFIG).items() if name in known}
    settings |= {"input_size": CONFIG.hidden_size, "critic_size": CONFIG.hidden_size}
    learner = RL2Learner(RL2Config(**settings), device="cpu", seed=3)
    learner.add_family(NAME, spaces)
    meta = learner.to_meta()
    meta["families"][0]["num_updates"] = NUM_UPDATES_BEFORE
    learner = RL2Learner.from_tensors(learner.config, learner.to_tensors(), meta, device="cpu")
    scale, critic = learner.policy.pair(spaces).reward_scale, learner._critic(NAME)
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for _name, parameter in learner._named_parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
        scale.variance.fill_(1.7)
        scale.count.fill_(300.0)
        for name, value in {"mean": 0.6, "mean_square": 2.9, "advantage_square": 1.4, "num_updates": 3.0}.items():
            getattr(critic, name).fill_(value)
    return learner


UNUSED = ("recall.", "encode_change")
"""Beginnings of names of parameters that only trials with a recall, or with vector observations, use."""


def engine_state(learner: RL2Learner, spaces: SpacePair) -> dict[str, Tensor]:
    """Return the engine's parameters and scales by the example's names."""
    state: dict[str, Tensor] = {}
    for full_name, parameter in learner._named_parameters():
        name = full_name.removeprefix("policy.").removeprefix(f"pairs.{spaces.key}.").removeprefix(f"critics.{NAME}.")
        if not name.startswith(UNUSED):
            state[RENAMED.get(name, name)] = parameter.detach().clone()
    state["score.weight"] = state["score.weight"].unsqueeze(0)
    scale, critic = learner.policy.pair(spaces).reward_scale, learner._critic(NAME)
    state |= {"reward_square": scale.variance[0].clone(), "num_steps": scale.count.clone()}
    state["reward_range"] = torch.stack([critic.lowest_reward, critic.highest_reward])
    return state | {name: getattr(critic, name).clone() for name in CRITIC_SCALES}


def example_state(agent: example.Agent) -> dict[str, Tensor]:
    state = {name: parameter.detach().clone() for name, parameter in agent.named_parameters()}
    state["reward_range"] = torch.stack(list(agent.reward_range))
    scales = (name for name in SCALES if name not in state)
    return state | {name: torch.as_tensor(getattr(agent, name), dtype=torch.float32) for name in scales}


def agent_like(state: dict[str, Tensor], tasks: RecordedTasks, config: example.Config) -> example.Agent:
    agent = example.Agent(config, tasks)
    agent.load_state_dict({name: tensor for name, tensor in state.items() if name not in SCALES})
    for name in SCALES:
        setattr(agent, name, int(state[name]) if name.startswith("num_") else state[name])
    return agent


class Differences(dict[str, float]):
    """The largest difference between engine and example by part of what they compute; relative for numbers above 1."""

    def add(self, part: str, of_example: Tensor, of_engine: Tensor) -> None:
        difference = (of_example - of_engine).abs() / of_engine.abs().clamp(min=1.0)
        self[part] = max(self.get(part, 0.0), float(difference.max()))


def compare(family: str, config: example.Config = CONFIG, *, num_updates: int = 1) -> Differences:
    """Let both play and learn ``num_updates`` times, and return the differences between them.

    Args:
        family: one of ``FAMILIES``.
        config: the example's settings; the engine's are those of ``CONFIG``.
        num_updates: of both; with 0 they play once.
    """
    tasks, found = FAMILIES[family](), Differences()
    learner = engine_in_training(tasks.spaces)
    agent: example.Agent | None = None
    for index in range(max(1, num_updates)):
        trials = collect_trials(
            learner.policy, tasks, first_task=index * NUM_TRIALS, split=Split.TRAINING, generator=learner.generator
        )
        recorded = RecordedTasks(trials)
        if agent is None:
            agent = agent_like(engine_state(learner, tasks.spaces), recorded, config)
            optimizer = example.make_optimizer(agent)
        played = example.play(agent, recorded, num_episodes=trials.episodes_per_trial, choose=recorded.choose)
        compare_trials(found, learner, trials, played)
        if num_updates == 0:
            break
        generator = torch.Generator()
        generator.set_state(learner.generator.get_state())
        time_left = learner.config.anneal(learner.num_updates(NAME))
        learner.update(NAME, trials)
        example.update(agent, optimizer, played, time_left=time_left, generator=generator)
        of_example, of_engine = example_state(agent), engine_state(learner, tasks.spaces)
        assert of_example.keys() == of_engine.keys()
        for name, tensor in of_engine.items():
            found.add("update", of_example[name], tensor)
        # Rounding decides which of two equal means leads in the reads of bandits: from here on it is to be the same.
        agent.reward_square = of_engine["reward_square"]
    return found


@torch.no_grad()
def compare_trials(found: Differences, learner: RL2Learner, trials: TrialBatch, played: example.Trials) -> None:
    """Add what the two differ by in one batch of trials; padding is not compared."""
    assert trials.features is not None
    assert trials.cut is not None
    assert trials.cut_features is not None
    assert torch.equal(played.is_valid, trials.is_valid)
    critic, valid = learner._critic(NAME), trials.is_valid
    value = critic.value(trials.features)
    final_value = torch.zeros_like(value)
    final_value.view(-1)[trials.cut] = critic.value(trials.cut_features)
    found.add("context", played.context[valid], trials.inputs.context[valid])
    found.add("read", played.read[valid], trials.inputs.read[valid])
    found.add("log_prob", played.log_prob[valid], trials.log_prob[valid])
    found.add("value", played.value[valid], value[valid])
    found.add("final_value", played.final_value * trials.truncated, final_value)
    trial_steps = float(trials.lengths.float().mean())
    rates = {
        "discount": learner.config.discount_for(trial_steps),
        "gae_lambda": learner.config.gae_lambda_for(trial_steps),
    }
    of_engine = trial_advantages(
        reward=trials.reward,
        value=value,
        final_value=final_value,
        truncated=trials.truncated,
        is_valid=valid,
        **rates,
    )
    found.add("advantage", example.trial_advantages(played, **rates), of_engine)


def test_the_examples_settings_are_the_engines_defaults() -> None:
    engine = RL2Config()
    constants = {
        "transition_prior": TRANSITION_PRIOR,
        "known_ways": (KNOWN_WAYS_DISCOUNT, 0.0, -MAX_BEHIND),
        "clip": CLIP,
        "value_coefficient": VALUE_COEFFICIENT,
        "scale_rate": SCALE_RATE,
    }
    defaults = asdict(engine) | constants
    assert {name: defaults[name] for name in asdict(CONFIG)} == asdict(example.Config())
    assert engine.input_size == engine.critic_size == engine.hidden_size


@pytest.mark.parametrize("family", FAMILIES)
def test_the_engine_computes_what_the_example_computes(family: str) -> None:
    found = compare(family)
    assert set(found) == {"context", "read", "log_prob", "value", "final_value", "advantage", "update"}
    assert {part: size for part, size in found.items() if size > TOLERANCE} == {}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_second_update_goes_on_from_the_same_scales_and_moments(family: str) -> None:
    found = compare(family, num_updates=2)
    assert {part: size for part, size in found.items() if size > 10 * TOLERANCE} == {}


@pytest.mark.parametrize(
    ("part", "family", "settings"),
    [
        ("read", "mdps", {"transition_prior": 1.05}),
        ("read", "mdps", {"look_ahead_discounts": (0.5, 0.8, 0.94)}),
        ("read", "mdps", {"known_ways": (0.94, 0.0, -0.5)}),
        ("read", "mdps", {"known_ways": (0.95, 0.1, -0.5)}),
        ("read", "mdps", {"known_ways": (0.95, 0.0, -0.49)}),
        ("update", "mdps", {"clip": 0.15}),
        ("update", "mdps", {"num_epochs": 1}),
        ("update", "mdps", {"minibatch_steps": 288}),
        ("update", "mdps", {"learning_rate": 5.1e-3}),
        ("update", "mdps", {"core_learning_rate_scale": 0.51}),
        ("update", "mdps", {"entropy_coefficient": 0.02}),
        ("update", "mdps", {"value_coefficient": 0.6}),
        ("update", "mdps", {"max_gradient_norm": 0.4}),
        ("update", "mdps", {"scale_rate": 0.3}),
    ],
)
def test_another_setting_is_noticed(part: str, family: str, settings: dict[str, Any]) -> None:
    found = compare(family, replace(CONFIG, **settings), num_updates=int(part == "update"))
    assert found[part] > 10 * TOLERANCE


def times(factor: float) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Multiply what a function returns."""
    return lambda function: lambda *inputs: factor * function(*inputs)


def with_rate(name: str, factor: float) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Multiply γ or λ."""
    return lambda function: lambda trials, **rates: function(trials, **{**rates, name: factor * rates[name]})


def without_cuts(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Judge a cut episode by what the next one begins with."""
    return lambda trials, **rates: function(trials._replace(truncated=torch.zeros_like(trials.truncated)), **rates)


@pytest.mark.parametrize(
    ("part", "family", "owner", "name", "change"),
    [
        ("advantage", "bandits", example, "trial_advantages", with_rate("discount", 0.999)),
        ("advantage", "mdps", example, "trial_advantages", with_rate("gae_lambda", 0.999)),
        ("advantage", "unlike_lengths_and_cuts", example, "trial_advantages", without_cuts),
        ("context", "bandits", example.Agent, "scale", times(1.01)),
        ("read", "bandits", example.InTrialMemory, "_left_to_find_out", times(1.01)),
        ("log_prob", "mdps", example.InTrialMemory, "read", times(1.01)),
        ("value", "mdps", example.InTrialMemory, "read", times(1.01)),
    ],
)
def test_another_equation_is_noticed(
    part: str, family: str, *, owner: Any, name: str, change: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, name, change(getattr(owner, name)))
    assert compare(family, num_updates=0)[part] > 10 * TOLERANCE

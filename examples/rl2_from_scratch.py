"""RL² in one file: an agent that learns, within a trial, a task that it has never seen.

A trial is several episodes in one task. The hidden state is carried from episode to episode and reset between trials
(Duan et al. 2016, arXiv:1611.02779, section 2.2): the weights learn how to learn, and the state holds what was learned
of the task. This agent also reads an in-trial memory, action by action. It depends on torch alone.

Run: ``python examples/rl2_from_scratch.py --task bandits --seed 0``, about a minute on one core.

Shapes: T steps, B trials, S observations, K actions, F features of a read, G look-ahead discounts, H hidden.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Generator, Tensor, nn
from torch.nn.functional import relu
from torch.optim import Adam


@dataclass(frozen=True, kw_only=True)
class Config:
    """The settings."""

    hidden_size: int = 64  # H (the paper has 256: its state must hold what this memory holds)
    scorer_size: int = 32
    look_ahead_discounts: tuple[float, ...] = (0.5, 0.8, 0.95)
    transition_prior: float = 1.0  # c, pseudo-count of a transition not seen yet
    known_ways: tuple[float, float, float] = (0.95, 0.0, -0.5)  # one more plan: γ, c, and the bound of an advantage
    clip: float = 0.2  # ε of PPO
    num_epochs: int = 2
    minibatch_steps: int = 1536  # wanted in a minibatch of whole trials
    min_minibatch_trials: int = 8
    max_minibatches: int = 16
    learning_rate: float = 5e-3  # falls linearly to a tenth
    core_learning_rate_scale: float = 0.5  # of the recurrent core; learnd: after its first 60 updates
    entropy_coefficient: float = 0.01  # falls linearly to 0
    value_coefficient: float = 0.5
    max_gradient_norm: float = 0.5
    scale_rate: float = 0.05  # how fast the scales of values and advantages follow


class Step(NamedTuple):
    """The result of one step of B tasks. When an episode ends, the same task is reset in the same step."""

    observation: Tensor  # [B] int64, what to act on next
    reward: Tensor  # [B]
    terminated: Tensor  # [B] bool, the episode ended in a terminal state
    truncated: Tensor  # [B] bool, it was cut off by a time limit (never in the two families below)
    final_observation: Tensor  # [B] int64, where the step led, before any reset


class Bandits:
    """Bandits (Duan et al. 2016, section 3.1): arm k pays 1 with probability p_k ~ U[0, 1]; an episode is one pull."""

    num_observations, num_actions, num_episodes = 1, 10, 100
    num_training_episodes, num_updates = 30, 150  # what short trials teach holds for long ones, at far less cost
    known = (("Thompson sampling", 77.1), ("UCB1, tuned", 83.3), ("Gittins index", 83.7))  # see docs/lab/

    def __init__(self, num_trials: int, generator: Generator) -> None:
        self.num_trials, self._generator = num_trials, generator

    def begin(self) -> Tensor:
        """Draw B tasks; return their first observations."""
        self._arms = torch.rand(self.num_trials, self.num_actions, generator=self._generator)
        return torch.zeros(self.num_trials, dtype=torch.int64)

    def step(self, action: Tensor) -> Step:
        """Pull one arm of each."""
        payoff = self._arms.gather(1, action[:, None])[:, 0]
        reward = (torch.rand(self.num_trials, generator=self._generator) < payoff).float()
        return Step(start := torch.zeros_like(action), reward, start == 0, start > 0, start)


class TabularMdps:
    """Random MDPs (Duan et al. 2016, section 3.2): mean rewards N(1, 1), noise N(0, 1), flat Dirichlet transitions."""

    num_observations, num_actions, num_episodes, horizon = 10, 5, 10, 10
    num_training_episodes, num_updates = 10, 50
    known = (("PSRL", 133.9), ("UCRL2, tuned", 150.7), ("RL², Duan et al.", 156.2), ("SNAIL, Mishra et al.", 159.1))

    def __init__(self, num_trials: int, generator: Generator) -> None:
        self.num_trials, self._generator = num_trials, generator

    def begin(self) -> Tensor:
        """Draw B tasks; return their first observations."""
        shape = (self.num_trials, self.num_observations, self.num_actions)
        self._means = 1 + torch.randn(shape, generator=self._generator)
        weights = torch.empty(*shape, self.num_observations).exponential_(generator=self._generator)
        self._transitions = weights / weights.sum(-1, keepdim=True)
        self._state, self._num_steps = torch.zeros(self.num_trials, dtype=torch.int64), 0
        return self._state

    def step(self, action: Tensor) -> Step:
        """Take one step in each; an episode begins in state 0 and terminates after ``horizon`` steps."""
        at = (torch.arange(self.num_trials), self._state, action)
        reward = self._means[at] + torch.randn(self.num_trials, generator=self._generator)
        state = torch.multinomial(self._transitions[at], 1, generator=self._generator)[:, 0]
        self._num_steps += 1
        ends = torch.full_like(state, self._num_steps % self.horizon == 0, dtype=torch.bool)
        self._state = state.masked_fill(ends, 0)
        return Step(self._state, reward, ends, torch.zeros_like(ends), state)


Tasks = Bandits | TabularMdps
FAMILIES: dict[str, type[Tasks]] = {"bandits": Bandits, "mdps": TabularMdps}


class InTrialMemory:
    """The in-trial memory: sums of each trial by observation and action; empty when a trial begins.

    A read gives F features of every action: what it gave here, and what planning says of it; or, in families of one
    observation, where there is nothing to plan, how much is left to find out about it.
    """

    def __init__(self, config: Config, tasks: Tasks, num_episodes: int) -> None:
        shape = (tasks.num_trials, tasks.num_observations, tasks.num_actions)
        self._num_episodes, self._rows = num_episodes, torch.arange(tasks.num_trials)
        plans = [(discount, config.transition_prior, -torch.inf) for discount in config.look_ahead_discounts]
        self._discounts, self._prior, self._most_behind = torch.tensor([*plans, config.known_ways]).unbind(1)
        self._visits, self._rewards, self._squares = torch.zeros(3, *shape)  # n, Σr, Σr²
        self._moves = torch.zeros(*shape, tasks.num_observations)  # n(s, a, s')
        self._q = torch.zeros(*shape, len(self._discounts))

    def read(self, observation: Tensor, episode: Tensor) -> Tensor:
        """Return [B, K, F] features at these observations, after ``episode`` [B] finished episodes."""
        at = (self._rows, observation)
        n, rewards, q = self._visits[at], self._rewards[at], self._q[at]
        gave = torch.stack([rewards / n.clamp(min=1), n.log1p(), 1 / (1 + n)], -1)
        if self._visits.shape[1] == 1:
            return torch.cat([gave, self._left_to_find_out(n, rewards, self._squares[at], episode)], -1)
        v = q.amax(1, keepdim=True)
        return torch.cat([gave, (q - v).maximum(self._most_behind), ((1 - self._discounts) * v).expand_as(q)], -1)

    def _left_to_find_out(self, n: Tensor, rewards: Tensor, squares: Tensor, episode: Tensor) -> Tensor:
        """Return what an index needs beyond the mean (cf. Lattimore 2016, arXiv:1511.06014, on Gittins' index).

        width = √(log(1 + m / (1 + n)) / (1 + n)) with m the visits still to come; reach = width · std of the rewards.
        How far an action's mean lies behind the best one is measured in units of the best one's reach.
        """
        count, total, square = (sums.sum((1, 2))[:, None] for sums in (self._visits, self._rewards, self._squares))
        usual, usual_square, share = total / (1 + count), (1 + square) / (1 + count), 1 / (1 + n)
        variance = (squares + usual_square) * share - ((rewards + usual) * share).square()
        visits_per_episode = (1 + n.sum(1, keepdim=True)) / (1 + episode[:, None])
        to_come = visits_per_episode * (self._num_episodes - episode[:, None]).clamp(min=1)
        width = ((to_come * share).log1p() * share).sqrt()
        mean, reach = rewards * share, width * variance.clamp(min=0).sqrt()
        best, leader = mean.max(1, keepdim=True)
        unit = reach.gather(1, leader).clamp(min=1e-4)
        behind, beside = (ratio.clamp(-20, 20) / 4 for ratio in ((mean - best) / unit, reach / unit))
        return torch.stack([mean, width / 2, reach, behind, beside], -1)

    def write(self, observation: Tensor, action: Tensor, reward: Tensor, step: Step, active: Tensor) -> None:
        """Add one step of every active trial, and do one sweep of value iteration over the mean model.

        Q(s,a) = (Σr + c r̄ + γ (Σ_s' n(s,a,s') V(s') + c v̄)) / (n + c),  V(s) = max_a Q(s,a)
        with r̄ the trial's mean reward and v̄ the mean of V over where its steps led. A trial's sweeps add up. Over
        known ways, c is 0, and an untried action gives min(r̄, 0) for ever.
        """
        at = (self._rows, observation, action)
        for sums, value in ((self._visits, 1.0), (self._rewards, reward), (self._squares, reward.square())):
            sums[at] += active * value
        self._moves[*at, step.final_observation] += (active & ~step.terminated).float()
        n, rewards, arrivals = self._visits[..., None], self._rewards[..., None], self._moves.sum((1, 2))
        v = self._q.amax(2)
        mean_reward = rewards.sum((1, 2), keepdim=True) / n.sum((1, 2), keepdim=True).clamp(min=1)
        mean_v = torch.einsum("bs,bsg->bg", arrivals, v) / arrivals.sum(1, keepdim=True).clamp(min=1)
        followed = torch.einsum("bskt,btg->bskg", self._moves, v) + self._prior * mean_v[:, None, None]
        q = (rewards + self._prior * mean_reward + self._discounts * followed) / (n + self._prior)
        self._q = q.where(n + self._prior > 0, mean_reward.clamp(max=0) / (1 - self._discounts))


class Agent(nn.Module):
    """Policy and critic, with the running scales of rewards and values.

    x_t = relu(W_o o_t + W_a a_{t-1} + W_c c_t + W_p pool(m_t)),  h_t = GRU(x_t, h_{t-1}),  z_t = LayerNorm(h_t)
    score_t(k) = W_k z_t + w · relu(U relu(V m_t(k)) + C [z_t, x_t]),  value_t = σ f([z_t, x_t]) + μ
    m_t(k) is the read of action k, and the second term one scorer that all actions share; c_t is the context. σ and μ
    normalise the returns that f learns (PopArt; van Hasselt et al. 2016, arXiv:1602.07714).
    """

    def __init__(self, config: Config, tasks: Tasks) -> None:
        super().__init__()
        h, p = config.hidden_size, config.scorer_size
        num_features = 3 + (2 + 2 * len(config.look_ahead_discounts) if tasks.num_observations > 1 else 5)
        self.encode_observation = nn.Embedding(tasks.num_observations, h)
        self.encode_action = nn.Embedding(tasks.num_actions, h)
        self.encode_context, self.encode_pooled = nn.Linear(9, h), nn.Linear(2 * p, h)
        self.core, self.core_norm = nn.GRU(h, h), nn.LayerNorm(h)
        self.embed_read, self.score_read = nn.Linear(num_features, p), nn.Linear(p, p, bias=False)
        self.score_context, self.score = nn.Linear(2 * h, p), nn.Linear(p, 1, bias=False)
        self.head = nn.Linear(h, tasks.num_actions)
        self.critic, self.critic_last = nn.Linear(2 * h, h), nn.Linear(h, 1)
        # Orthogonal (Saxe et al. 2014, arXiv:1312.6120), and small where actions are scored, so that the first policy
        # is all but uniform (Andrychowicz et al. 2021, arXiv:2006.05990, section 3.2).
        gains = {"score.weight": 0.01, "critic.weight": 2**0.5, "critic_last.weight": 0.1}
        for name, parameter in self.named_parameters():
            if "bias" in name or name.startswith(("encode_observation", "encode_action", "head")):  # adds to the rest
                nn.init.zeros_(parameter)
            elif parameter.ndim == 2:
                nn.init.orthogonal_(parameter, gains.get(name, 1.0))
        self.config, self.num_updates, self.num_steps = config, 0, 0
        self.reward_square, self.advantage_square, self.mean_square = torch.ones(3).unbind()
        self.mean, self.spread, self.reward_range = torch.zeros(()), torch.ones(()), torch.zeros(2)  # μ, σ

    def forward(self, inputs: Sequence[Tensor], hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return logits [T, B, K], normalised values [T, B] and the last hidden state [1, B, H]."""
        observation, previous_action, context, read = inputs
        embedded = relu(self.embed_read(read))
        pooled = torch.cat([embedded.mean(-2), embedded.amax(-2)], -1)
        x = self.encode_context(context) + self.encode_pooled(pooled)
        x = x + context[..., 3:4] * self.encode_action(previous_action)  # a trial's first step has none before it
        if self.encode_observation.num_embeddings > 1:
            x = x + self.encode_observation(observation)
        x = relu(x)
        states, hidden = self.core(x, hidden)
        z = self.core_norm(states)
        features = torch.cat([z, x], -1)
        shared = relu(self.score_read(embedded) + self.score_context(features)[..., None, :])
        logits = self.head(z) + self.score(shared)[..., 0]
        return logits, self.critic_last(relu(self.critic(features)))[..., 0], hidden

    @torch.no_grad()
    def follow(self, rewards: Tensor, returns: Tensor, advantages: Tensor) -> None:
        """Move the scales, and the critic's last layer with them so that no value changes (PopArt, section 2.1)."""
        self.num_steps += len(rewards)
        self.reward_square = self.reward_square.lerp(rewards.square().mean(), len(rewards) / self.num_steps)
        mean, spread = self.mean, self.spread
        self.num_updates += 1
        rate = max(self.config.scale_rate, 1 / self.num_updates)  # the first updates are averaged
        self.mean = mean.lerp(returns.mean(), rate)
        self.mean_square = self.mean_square.lerp(returns.square().mean(), rate)
        self.advantage_square = self.advantage_square.lerp(advantages.square().mean(), rate)
        self.spread = (self.mean_square - self.mean.square()).clamp(min=1e-6).sqrt()
        self.critic_last.weight.mul_(spread / self.spread)
        self.critic_last.bias.copy_((spread * self.critic_last.bias + mean - self.mean) / self.spread)

    def scale(self, reward: Tensor) -> Tensor:
        """Return rewards in units of their running root mean square, bounded."""
        return (reward * (1 / self.reward_square.sqrt().clamp(min=1e-3))).clamp(-10, 10)


class Trials(NamedTuple):
    """B trials, [T, B, ...]. The first four fields are all that decisions depend on apart from the hidden state."""

    observation: Tensor
    previous_action: Tensor
    context: Tensor  # [T, B, 9] previous reward, termination and truncation; time
    read: Tensor  # [T, B, K, F]
    action: Tensor
    log_prob: Tensor
    value: Tensor
    final_value: Tensor  # of where the step led, if the episode was cut off there
    reward: Tensor
    truncated: Tensor
    is_valid: Tensor  # False after a trial's end: the rest is padding


@torch.no_grad()
def play(agent: Agent, tasks: Tasks, *, num_episodes: int, choose: Callable[[Tensor], Tensor]) -> Trials:
    """Play one trial in each task; ``choose`` gives actions [B] for logits [B, K]."""
    memory = InTrialMemory(agent.config, tasks, num_episodes)
    hidden, observation = torch.zeros(1, tasks.num_trials, agent.config.hidden_size), tasks.begin()
    action = episode = torch.zeros_like(observation)
    reward, has_begun, episode_step = torch.zeros(3, tasks.num_trials)
    terminated = truncated = never = torch.zeros_like(observation, dtype=torch.bool)

    def decide(at: Tensor) -> tuple[tuple[Tensor, ...], Tensor, Tensor, Tensor]:
        scaled, left = agent.scale(reward), (num_episodes - episode).clamp(min=1)
        symlog = scaled.sign() * scaled.abs().log1p()  # Hafner et al. 2023, arXiv:2301.04104, eq. 9
        clock = [episode_step.log1p() / 4, 1 / (episode_step + 1), left.log() / 4, 1 / left, left / num_episodes]
        context = torch.stack([symlog, terminated, truncated, has_begun, *clock], -1)
        inputs = (at, action, context, memory.read(at, episode))
        logits, value, after = agent([values[None] for values in inputs], hidden)
        return inputs, logits[0], value[0] * agent.spread + agent.mean, after

    steps = []
    while (active := episode < num_episodes).any():
        inputs, logits, value, hidden = decide(observation)
        action = choose(logits)
        log_prob = logits.log_softmax(-1).gather(-1, action[:, None])[:, 0]
        step = tasks.step(action)
        memory.write(observation, action, agent.scale(step.reward), step, active)
        reward, terminated, truncated, episode_step = step.reward, never, never, episode_step + 1
        has_begun = torch.ones_like(has_begun)
        # The value of a cut episode's true last observation, as if the episode went on.
        final_value = decide(step.final_observation)[2] if step.truncated.any() else torch.zeros_like(value)
        steps.append((*inputs, action, log_prob, value, final_value, reward, step.truncated, active))
        observation, terminated, truncated = step.observation, step.terminated, step.truncated
        ended = (terminated | truncated) & active
        episode, episode_step = episode + ended, episode_step * ~ended
    return Trials(*(torch.stack(values) for values in zip(*steps, strict=True)))


def trial_advantages(trials: Trials, *, discount: float, gae_lambda: float) -> Tensor:
    """Return A_t = δ_t + γλ A_{t+1}, δ_t = r_t + γ v_{t+1} - v_t (Schulman et al. 2016, arXiv:1506.02438, eq. 16)."""
    advantage, next_value = torch.zeros(2, *trials.reward.shape[1:])  # returns cross episodes, not trials
    advantages = []
    for t in reversed(range(len(trials.reward))):
        next_value = torch.where(trials.truncated[t], trials.final_value[t], next_value)
        delta = trials.reward[t] + discount * next_value - trials.value[t]
        advantage = (delta + discount * gae_lambda * advantage) * trials.is_valid[t]
        next_value = trials.value[t] * trials.is_valid[t]
        advantages.append(advantage)
    return torch.stack(advantages[::-1])


def minibatches(lengths: Tensor, config: Config, generator: Generator) -> Iterator[Tensor]:
    """Yield the rows of whole trials (the hidden state needs their beginnings) of like length, in random order."""
    most = min(config.max_minibatches, len(lengths) // config.min_minibatch_trials)
    num_minibatches = max(1, min(round(int(lengths.sum()) / config.minibatch_steps), most))
    order = torch.randperm(len(lengths), generator=generator)
    parts = order[lengths[order].argsort(stable=True, descending=True)].tensor_split(num_minibatches)
    yield from (parts[index] for index in torch.randperm(num_minibatches, generator=generator).tolist())


def make_optimizer(agent: Agent) -> Adam:
    """Return Adam with two groups: the recurrent core, and the rest."""
    core = [*agent.core.parameters(), *agent.core_norm.parameters()]
    rest = [parameter for name, parameter in agent.named_parameters() if not name.startswith("core")]
    scale = agent.config.core_learning_rate_scale
    return Adam([{"params": core, "scale": scale}, {"params": rest, "scale": 1.0}], eps=1e-5)


def update(agent: Agent, optimizer: Adam, trials: Trials, *, time_left: float, generator: Generator) -> float:
    """Improve the agent by PPO (Schulman et al. 2017, arXiv:1707.06347, eqs. 7 and 9); return the policy's entropy."""
    config, is_valid, lengths = agent.config, trials.is_valid, trials.is_valid.sum(0)
    trial_steps = float(lengths.float().mean())
    # Exploring pays until the trial's end, and a critic hardly sees it (the paper has γ .99, λ .3).
    discount, gae_lambda = max(0.99, 1 - 0.2 / trial_steps), min(0.95, 1 - 1 / trial_steps)
    # What the critic says of where an episode was cut off is never corrected, so it could raise itself without end.
    agent.reward_range = torch.stack(torch.stack([*agent.reward_range, *trials.reward.aminmax()]).aminmax())
    low, high = (extreme / (1 - discount) for extreme in agent.reward_range)
    trials = trials._replace(final_value=trials.final_value.clamp(low, high))
    advantage = trial_advantages(trials, discount=discount, gae_lambda=gae_lambda)
    returns = advantage + trials.value
    agent.follow(trials.reward[is_valid], returns[is_valid], advantage[is_valid])
    target = (returns - agent.mean) / agent.spread
    # Subtract a step's usual advantage (the mean counts for 8 trials): a critic that lags makes all actions likelier.
    usual = advantage.sum(1, keepdim=True) + 8 * advantage.sum() / is_valid.sum()
    usual = usual / (is_valid.sum(1, keepdim=True) + 8)
    advantage = (advantage - usual) / agent.advantage_square.sqrt()
    for group in optimizer.param_groups:  # time_left: share of the training to come
        group["lr"] = config.learning_rate * (0.1 + 0.9 * time_left) * group["scale"]
    for rows in (rows for _ in range(config.num_epochs) for rows in minibatches(lengths, config, generator)):
        part = slice(int(lengths[rows].max())), rows
        logits, value, _ = agent([values[part] for values in trials[:4]], torch.zeros(1, len(rows), config.hidden_size))
        log_probs = logits.log_softmax(-1)
        ratio = (log_probs.gather(-1, trials.action[part][..., None])[..., 0] - trials.log_prob[part]).exp()
        clipped = ratio.clamp(1 - config.clip, 1 + config.clip)
        gain = torch.minimum(ratio * advantage[part], clipped * advantage[part])[is_valid[part]].mean()
        error = (value - target[part])[is_valid[part]].square().mean() / 2
        entropy = -(log_probs.exp() * log_probs).sum(-1)[is_valid[part]].mean()
        loss = config.value_coefficient * error - gain - config.entropy_coefficient * time_left * entropy
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(agent.parameters(), config.max_gradient_norm)
        optimizer.step()
    return float(entropy.detach())


def main() -> None:
    """Train an agent, and score it on tasks that it has not seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=FAMILIES, default="bandits", help="10 arms, 100 pulls; or MDPs, 10 episodes")
    parser.add_argument("--seed", type=int, default=0, help="of parameters, training tasks and actions")
    parser.add_argument("--updates", type=int, help="length of the training; default: about a minute on one core")
    options = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.manual_seed(options.seed)  # draws the initial parameters, too
    family, started = FAMILIES[options.task], time.monotonic()
    num_updates = options.updates or family.num_updates

    def draw(logits: Tensor) -> Tensor:
        return torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]

    tasks = family(256, generator)
    agent = Agent(Config(), tasks)
    optimizer = make_optimizer(agent)
    for index in range(num_updates):
        trials = play(agent, tasks, num_episodes=family.num_training_episodes, choose=draw)
        entropy = update(agent, optimizer, trials, time_left=1 - index / num_updates, generator=generator)
        if (index + 1) % max(1, num_updates // 10) == 0:
            how_far = f"update {index + 1}/{num_updates}, {agent.num_steps:,} steps, {time.monotonic() - started:.0f} s"
            print(f"{how_far}: reward a step {trials.reward.mean():.3f}, entropy {entropy:.2f}", flush=True)
    print(f"Return of a trial ({family.num_episodes} episodes), 4,096 held-out tasks, mean ± standard error:")
    for name, choose in (("uniformly random", lambda logits: draw(0 * logits)), ("this agent", draw)):
        held_out = family(4096, Generator().manual_seed(-1))
        returns = play(agent, held_out, num_episodes=family.num_episodes, choose=choose).reward.sum(0)
        print(f"  {name:22}{returns.mean():7.2f} ± {returns.std() / 64:.2f}")
    print(*(f"  {name:22}{known:7.2f}" for name, known in family.known), sep="\n")


if __name__ == "__main__":
    main()

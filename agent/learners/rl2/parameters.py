"""The parameters that a policy acts with: published ones, and those that an earlier learnd wrote, in the present form.

A policy acts as before with what an earlier learnd wrote.

Shapes: P scorer size, F features of a read now, E features of a read then, G plans of an in-trial memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from agent.learners.rl2.config import RL2Config
from agent.learners.rl2.in_trial_memory.protocol import look_aheads
from agent.learners.rl2.pair import CORE, EMBED_READ, ENCODE_CHANGE, PairModule
from agent.learners.rl2.policy import RL2Policy
from envs.spaces import SpacePair


class IncompatibleParametersError(ValueError):
    """An error: published parameters have other shapes than a policy of this learnd version or of these settings."""


def covers(tensors: Mapping[str, Tensor], pair: SpacePair) -> bool:
    """Return whether published parameters have those of a space pair, so that a policy can act in it."""
    return any(name.startswith(f"pairs.{pair.key}.") for name in tensors)


def is_added_parameter(name: str) -> bool:
    """Return whether a parameter is one that learnd 0.1.0 did not write, so that it may be missing."""
    return ".recall." in name or name.endswith(ENCODE_CHANGE)


def with_added_parameters(policy: RL2Policy, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a policy's tensors in the present form, with the new parameters that learnd 0.1.0 did not write.

    They are those of the recall gates and the weights of changes by action.
    """
    new = {name: tensor for name, tensor in policy.state_dict().items() if is_added_parameter(name)}
    return new | in_present_form(policy, tensors)


def new_reward_bounds(critics: nn.ModuleDict) -> dict[str, Tensor]:
    """Return the range and the unit of rewards of new critics, which checkpoints of learnd 0.1.0 lack."""
    state, names = critics.state_dict(), ("lowest_reward", "highest_reward", "reward_unit")
    return {name: tensor for name, tensor in state.items() if name.endswith(names)}


def in_present_form(
    policy: RL2Policy, tensors: Mapping[str, Tensor], *, keys: Iterable[str] | None = None
) -> dict[str, Tensor]:
    """Return tensors with a core in each space pair, and weights for the plan over known ways.

    The pairs of learnd 0.1.0 shared one core, and its memories did not plan over known ways.

    Args:
        policy: the policy for which the tensors are.
        tensors: the policy's tensors, or others that have the names of its parameters at the start of theirs.
        keys: the keys of the pairs; None takes those of which there is any tensor.
    """
    shared = {name: tensor for name, tensor in tensors.items() if name.partition(".")[0] in CORE}
    rest = {name: tensor for name, tensor in tensors.items() if name not in shared}
    if keys is None:
        keys = {name.split(".")[1] for name in rest if name.startswith("pairs.")}
    found = rest | {f"pairs.{key}.{name}": tensor for key in keys for name, tensor in shared.items()}
    for key, pair in policy.pairs.items():
        assert isinstance(pair, PairModule)
        num_discounts, weight = len(look_aheads(pair.spaces, policy.config)), f"pairs.{key}.{EMBED_READ}.weight"
        for name in [name for name in found if num_discounts and name.startswith(weight)]:
            if found[name].ndim == 2 and found[name].shape[1] == pair.embed_read.in_features - 2:
                found[name] = _with_known_ways(found[name], num_discounts)
    return found


def _with_known_ways(weight: Float[Tensor, "P E"], num_discounts: int) -> Float[Tensor, "P F"]:
    """Return the weights of a read's features, or their moments, with 0 for the advantage and value of a further plan.

    Args:
        weight: a column for each feature: statistics, the advantages of ``num_discounts`` plans, and their values.
        num_discounts: G - 1.
    """
    others, values = torch.split(weight, [weight.shape[1] - num_discounts, num_discounts], dim=1)
    zeros = torch.zeros_like(weight[:, :1])
    return torch.cat([others, zeros, values, zeros], dim=1)


def policy_from_initialization(
    config: RL2Config,
    tensors: Mapping[str, Tensor],
    spaces: Sequence[SpacePair],
    *,
    device: torch.device | str = "cpu",
) -> RL2Policy:
    """Create a policy that acts with published parameters.

    Space pairs that the parameters do not cover are left out; see :meth:`RL2Policy.knows`.

    Args:
        config: the settings with which the parameters were learned.
        tensors: the result of :meth:`agent.learners.rl2.learner.RL2Learner.initialization`.
        spaces: the pairs in which the policy may have to act.
        device: device of the policy.

    Raises:
        IncompatibleParametersError: the parameters do not fit the settings.
    """
    generator = torch.Generator().manual_seed(0)
    policy = RL2Policy(config, device=device)
    for pair in spaces:
        if covers(tensors, pair):
            policy.add_pair(pair, generator=generator)
    wanted = policy.state_dict()
    found = with_added_parameters(policy, tensors)
    try:
        policy.load_state_dict({name: tensor for name, tensor in found.items() if name in wanted})
    except RuntimeError as error:
        raise IncompatibleParametersError(
            f"making a policy of published parameters: they do not fit; another version of learnd wrote them, or "
            f"settings under [rl2] changed since: {error}"
        ) from error
    return policy

"""Rollouts and minibatches as programs that are recorded once and replayed: CUDA graphs.

At the sizes of RL² a GPU waits for Python: a step of a rollout, or of a GRU's gradient, is a hundred small kernels,
each of which takes longer to launch than to run. A graph launches them all at once. What is recorded is a whole rollout
of the longest trial there can be, and a whole step of the optimiser; between them stand the few things whose shapes
depend on numbers (:func:`agent.rl2.rollout.sort_out`, the choice of minibatches).

A recorded program reads and writes the same memory at every run. So inputs are written in place before a run, and what
a run gives is overwritten by the next. Elsewhere than on CUDA the same holds, with the program run again by Python:
buffers that are mixed up are found there by a test, as they would be on CUDA.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Generic, NoReturn, TypeVar

import torch
from torch import Tensor

from agent.rl2.learner import Minibatch, RL2Learner
from agent.rl2.policy import RL2Policy
from agent.rl2.rollout import Played, Rollout, sort_out
from agent.rl2.trials import TrialBatch
from envs.family import Split
from envs.spaces import SpacePair
from envs.task_batch import TaskBatch

NUM_EAGER_RUNS = 3
"""Runs before the recording: libraries set themselves up in their first, and the optimiser makes its state."""

NUM_LENGTHS = 4
"""Lengths that minibatches are padded to."""

MAX_PROGRAMS = 4 * NUM_LENGTHS
"""Of minibatches: two numbers of them in turns, each of two numbers of trials, are held without end."""

Result = TypeVar("Result")


class CaptureSpace:
    """Where programs that take turns are recorded: one stream and one pool of memory for them all.

    What a program gives lies where another one of its space may work, so it holds until any of them runs again: a
    program whose results are wanted longer has a space of its own. So do programs that may be replayed side by side,
    those of different learners: libraries keep their working memory by stream.

    Elsewhere than on CUDA what one program gave is spoiled when another runs, as it may be there.

    Args:
        device: where they run.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream: torch.cuda.Stream | None = None
        self.pool: Any = None
        self._last_result: object = None
        if device.type == "cuda":
            self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            self.renew()

    def renew(self) -> None:
        """Begin anew, once all that was recorded is given up: what someone still holds of it stays where it is."""
        self._last_result = None
        if self.stream is not None:
            self.pool = torch.cuda.graph_pool_handle()

    def take_turn(self, result: object) -> None:
        """A program runs, whose recorded result this is."""
        if self.stream is not None:
            return
        if self._last_result is not result:
            for tensor in tensors_of(self._last_result):
                tensor.fill_(torch.nan if tensor.is_floating_point() else -1)
        self._last_result = result


class CapturedProgram(Generic[Result]):
    """A program of fixed shapes, recorded after its first runs and replayed from then on.

    Its first runs are runs like any other, so recording it disturbs no parameter and no random state.

    Args:
        program: reads tensors that stay where they are, fetches nothing from the device, and gives a tensor or a
            dataclass of tensors that are its own.
        space: where it is recorded.
        generators: all that it draws from.
    """

    def __init__(
        self, program: Callable[[], Result], *, space: CaptureSpace, generators: Sequence[torch.Generator] = ()
    ) -> None:
        self._program = program
        self._space = space
        self._generators = generators
        self._num_runs = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._result: Result | None = None

    def __call__(self) -> Result:
        """Run the program; what it gives holds until it, or another one of its space, runs again."""
        self._num_runs += 1
        self._space.take_turn(self._result)
        if self._num_runs <= NUM_EAGER_RUNS:
            return self._run_aside()
        if self._result is None:
            return self._record()
        if self._graph is None:
            copy_tensors(self._program(), into=self._result)
        else:
            self._graph.replay()
        return self._result

    def release(self) -> None:
        """Let go of what was recorded, and of all that the program works on; it runs no more.

        Whoever holds the program may be held by it, so without this the memory would stay until such rings are looked
        for, which a device that has run out of memory does not do.
        """
        if self._graph is not None:
            torch.cuda.current_stream(self._space.device).synchronize()  # it may be running
            self._graph.reset()
        self._program, self._graph, self._result = _released, None, None

    def _run_aside(self) -> Result:
        """Run it where it will be recorded."""
        stream = self._space.stream
        if stream is None:
            return self._program()
        called_from = torch.cuda.current_stream(self._space.device)
        stream.wait_stream(called_from)
        with torch.cuda.stream(stream):
            result = self._program()
        called_from.wait_stream(stream)
        for tensor in tensors_of(result):
            tensor.record_stream(called_from)
        return result

    def _record(self) -> Result:
        if self._space.stream is None:
            self._result = self._program()
            return self._result
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        # Other threads may go on with what they do on the device meanwhile.
        with torch.cuda.graph(
            graph, pool=self._space.pool, stream=self._space.stream, capture_error_mode="thread_local"
        ):
            result = self._program()
        self._graph, self._result = graph, result
        graph.replay()
        return result


def _released() -> NoReturn:
    raise RuntimeError("running a recorded program: it was given up")


class CapturedRollout:
    """Rollouts of one family, all of them as long as its longest trial.

    Args:
        policy: knows the family's spaces; its parameters may change between rollouts, in place.
        tasks: a tensor-native family's.
        generator: draws the actions.
        space: where it is recorded.
        split: as for a rollout.
        num_episodes: E of the trials, at most the family's own; None for the family's own.

    Raises:
        ValueError: the longest trial is not known, so no program can hold it.
    """

    def __init__(
        self,
        policy: RL2Policy,
        tasks: TaskBatch,
        *,
        generator: torch.Generator,
        space: CaptureSpace,
        split: Split = Split.TRAINING,
        num_episodes: int | None = None,
    ) -> None:
        if tasks.max_episode_steps is None:
            raise ValueError(
                f"capturing rollouts of {tasks.spec.name}: the family sets no max_episode_steps; set it, or roll out "
                f"without capturing"
            )
        self._policy, self._tasks, self._generator, self._split = policy, tasks, generator, split
        self._space = space
        self._num_episodes = min(num_episodes or tasks.spec.episodes_per_trial, tasks.spec.episodes_per_trial)
        self.num_steps = tasks.max_episode_steps * self._num_episodes
        """T of the longest trial."""
        self._first_task = torch.zeros((), dtype=torch.int64, device=tasks.device)
        self._program = CapturedProgram(self._play, space=space, generators=[generator])

    @torch.no_grad()
    def collect(self, first_task: int) -> TrialBatch:
        """Play one trial in each of B tasks; what comes back holds until the next call."""
        self._first_task.fill_(first_task)
        return sort_out(self._policy, self._program())

    def release(self) -> None:
        """Let go of the recording; there are no more rollouts."""
        self._program.release()
        self._space.renew()

    def _play(self) -> Played:
        rollout = Rollout(
            self._policy,
            self._tasks,
            first_task=self._first_task,
            split=self._split,
            generator=self._generator,
            num_episodes=self._num_episodes,
            may_ask=False,
        )
        for _step in range(self.num_steps):
            rollout.step()
        return rollout.played()


class CapturedMinibatchStep:
    """What :meth:`RL2Learner.update` takes as its ``minibatch_step``: a handful of programs for each family.

    Minibatches are cut to their longest trial, so their lengths differ from one to the next. Each is padded again, to
    the next quarter of the longest trial there can be: four programs for each number of trials hold them all, and
    padding changes nothing. Trials that grow are split into ever more minibatches and leave shapes behind that never
    come again: beyond ``MAX_PROGRAMS`` all are given up, and recorded anew as they come.

    It holds for the learner's parameters and optimiser as they stand: make another after ``load_initialization``.

    Args:
        learner: whose steps are captured.
        num_steps: T of the longest trial.
        space: where they are recorded.
    """

    def __init__(self, learner: RL2Learner, *, num_steps: int, space: CaptureSpace) -> None:
        self._learner = learner
        self._space = space
        self._num_steps = num_steps
        self._programs: dict[tuple[str, int, int], tuple[Minibatch, CapturedProgram[Tensor]]] = {}

    def __call__(self, name: str, spaces: SpacePair, minibatch: Minibatch) -> Tensor:
        """Take one step of the optimiser; what comes back holds until the next."""
        [(num_steps, num_trials)] = minibatch.stretches
        quarters = math.ceil(NUM_LENGTHS * num_steps / self._num_steps)
        padded_steps = max(num_steps, math.ceil(self._num_steps * quarters / NUM_LENGTHS))
        key = (name, padded_steps, num_trials)
        if key not in self._programs:
            if len(self._programs) >= MAX_PROGRAMS:
                self.release()
            self._programs[key] = self._program_of(name, spaces, _padding_for(minibatch, padded_steps, num_trials))
        held, program = self._programs[key]
        held.is_valid.zero_()
        for source, target in zip(tensors_of(minibatch), tensors_of(held), strict=True):
            (target[: len(source)] if target.ndim else target).copy_(source)
        return program()

    def release(self) -> None:
        """Let go of the recordings, and of the gradients that they left in their memory."""
        for _held, program in self._programs.values():
            program.release()
        self._programs.clear()
        self._learner.forget_gradients()
        self._space.renew()

    def _program_of(self, name: str, spaces: SpacePair, held: Minibatch) -> tuple[Minibatch, CapturedProgram[Tensor]]:
        def program() -> Tensor:
            return self._learner.minibatch_step(name, spaces, held)

        return held, CapturedProgram(program, space=self._space)


def _padding_for(minibatch: Minibatch, num_steps: int, num_trials: int) -> Minibatch:
    """Padding alone: as many trials as a minibatch has, of more steps."""

    def empty(values: Tensor) -> Tensor:
        return values.new_zeros(num_steps * num_trials, *values.shape[1:])

    def empty_trials(values: Tensor) -> Tensor:
        return values.new_zeros(num_steps, *values.shape[1:])

    return Minibatch(
        stretches=((num_steps, num_trials),),
        inputs=minibatch.inputs.each(empty),
        held=None if minibatch.held is None else minibatch.held.each(empty_trials),
        action=empty(minibatch.action),
        log_prob=empty(minibatch.log_prob),
        is_valid=empty(minibatch.is_valid),
        advantage=empty(minibatch.advantage),
        normalised_return=empty(minibatch.normalised_return),
        entropy_coefficient=torch.zeros_like(minibatch.entropy_coefficient),
    )


def tensors_of(value: object) -> Iterator[Tensor]:
    """The tensors of a tensor, or of a dataclass of tensors and of such dataclasses, in order."""
    if isinstance(value, Tensor):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from tensors_of(getattr(value, field.name))


def copy_tensors(value: object, *, into: object) -> None:
    """Write the tensors of one value over those of another like it."""
    for source, target in zip(tensors_of(value), tensors_of(into), strict=True):
        target.copy_(source)

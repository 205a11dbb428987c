"""Programs that are recorded once and replayed as CUDA graphs: rollouts and minibatch steps.

At the sizes of RL² a GPU waits for Python: a step of a rollout, or of a GRU's gradient, consists of about a hundred
small kernels, and each takes longer to launch than to run. A graph launches them all at once. Two programs are
recorded: a whole rollout of the longest possible trial, and a whole step of the optimiser. The few operations whose
shapes depend on data run between them (:func:`agent.learners.rl2.rollout.sort_out`, the choice of minibatches).

A recorded program reads and writes the same memory at every run. Inputs are therefore written in place before a run,
and the result of a run is overwritten by the next. On other devices Python runs the program again, but results are
overwritten in the same way, so that tests without a GPU find reads of stale results.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Generic, NoReturn, TypeVar

import torch
from torch import Tensor

from agent.learners.rl2.learner import RL2Learner
from agent.learners.rl2.minibatch import Minibatch, padding_for
from agent.learners.rl2.played import Played, sort_out
from agent.learners.rl2.policy import RL2Policy
from agent.learners.rl2.rollout import Rollout, num_planned_episodes
from agent.learners.rl2.trees import tensors_of
from agent.learners.rl2.trials import TrialBatch
from envs.family import Split
from envs.spaces import SpacePair
from envs.task_batch import TaskBatch

NUM_EAGER_RUNS = 3
"""Runs before the recording. Libraries initialise in their first runs, and the optimiser creates its state."""

NUM_LENGTHS = 4
"""Number of different lengths that minibatches are padded to."""

MAX_PROGRAMS = 4 * NUM_LENGTHS
"""Largest number of minibatch programs: enough for two numbers of minibatches, each with two numbers of trials."""

Result = TypeVar("Result")


class CaptureSpace:
    """A place where programs that run one at a time are recorded: one CUDA stream and one memory pool.

    A program's result may lie in memory that another program of the same space uses, so it is valid only until any of
    them runs again. Use separate spaces in two cases:

    - Results are needed for longer than that.
    - Programs may be replayed concurrently, such as those of different learners: libraries keep one workspace per
      stream.

    On devices other than CUDA, running a program overwrites the result of another program of the space, as sharing a
    memory pool might.

    Args:
        device: the device of the programs.
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
        """Start with a new memory pool after all recordings of this space were released.

        Memory of the old pool that is still referenced stays allocated.
        """
        self._last_result = None
        if self.stream is not None:
            self.pool = torch.cuda.graph_pool_handle()

    def take_turn(self, result: object) -> None:
        """Mark ``result`` as the current result of this space.

        On devices other than CUDA, overwrite the previous program's result with NaN (-1 for integers), as sharing one
        CUDA memory pool might.
        """
        if self.stream is not None:
            return
        if self._last_result is not result:
            for tensor in tensors_of(self._last_result):
                tensor.fill_(torch.nan if tensor.is_floating_point() else -1)
        self._last_result = result


class CapturedProgram(Generic[Result]):
    """A program of fixed shapes, recorded after its first runs and replayed from then on.

    The first runs execute the program normally, so recording changes neither parameters nor random state.

    Args:
        program: a function that reads tensors at fixed addresses and fetches nothing from the device. It returns its
            own tensors: one, or a tree of them (:mod:`agent.learners.rl2.trees`).
        space: the space in which it is recorded.
        generators: all random generators that the program draws from.
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
        """Run the program; the result is valid until any program of its space runs again."""
        self._num_runs += 1
        self._space.take_turn(self._result)
        if self._num_runs <= NUM_EAGER_RUNS:
            return self._run_aside()
        if self._result is None:
            return self._record()
        if self._graph is None:
            for target, source in zip(tensors_of(self._result), tensors_of(self._program()), strict=True):
                target.copy_(source)
        else:
            self._graph.replay()
        return self._result

    def release(self) -> None:
        """Release the recording and everything the program works on; the program cannot run again.

        The owner of the program may be part of a reference cycle with it. Without this method the memory would stay
        allocated until the garbage collector finds the cycle, which an out-of-memory error on the device does not
        trigger.
        """
        if self._graph is not None:
            torch.cuda.current_stream(self._space.device).synchronize()  # the graph may be running
            self._graph.reset()
        self._program, self._graph, self._result = _released, None, None

    def _run_aside(self) -> Result:
        """Run the program on the stream on which it will be recorded."""
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
        # Other threads may continue to use the device during the recording.
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
    """A recorded rollout of one family. Every run has the length of the family's longest trial.

    Args:
        policy: a policy that knows the family's spaces; its parameters may change between rollouts, in place.
        tasks: tasks of a tensor-native family.
        generator: source of the actions' noise.
        space: the space in which the rollout is recorded.
        split: see :func:`agent.learners.rl2.rollout.collect_trials`.
        num_episodes: E of the trials, at most the family's own; None for the family's own.

    Raises:
        ValueError: the length of the longest trial is unknown, so its program cannot be recorded.
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
        self._num_episodes = num_planned_episodes(tasks, num_episodes)
        self.num_steps = tasks.max_episode_steps * self._num_episodes
        """T, the number of steps of the longest trial."""
        self._first_task = torch.zeros((), dtype=torch.int64, device=tasks.device)
        self._program = CapturedProgram(self._play, space=space, generators=[generator])

    @torch.no_grad()
    def collect(self, first_task: int) -> TrialBatch:
        """Play one trial in each of B tasks; the result is valid until the next call."""
        self._first_task.fill_(first_task)
        return sort_out(self._policy, self._program())

    def release(self) -> None:
        """Release the recording; no more rollouts are possible."""
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
    """A recorded ``minibatch_step`` for :meth:`RL2Learner.update`: a few programs for each family.

    Minibatches are cut to their longest trial, so their lengths differ. Each minibatch is padded to the next quarter of
    the longest possible trial. Four programs per number of trials therefore cover all minibatches, and padding does not
    change the result. While trials grow, they are split into more and more minibatches, and old shapes never return: at
    ``MAX_PROGRAMS`` programs, all are released and recorded again as needed.

    The programs are bound to the learner's current parameter tensors and optimiser: create another instance after
    ``load_initialization``.

    Args:
        learner: the learner whose steps are captured.
        num_steps: T of the longest trial.
        space: the space in which the steps are recorded.
    """

    def __init__(self, learner: RL2Learner, *, num_steps: int, space: CaptureSpace) -> None:
        self._learner = learner
        self._space = space
        self._num_steps = num_steps
        self._programs: dict[tuple[str, int, int], tuple[Minibatch, CapturedProgram[Tensor]]] = {}

    def __call__(self, name: str, spaces: SpacePair, minibatch: Minibatch) -> Tensor:
        """Take one step of the optimiser; the result is valid until the next step."""
        [(num_steps, num_trials)] = minibatch.stretches
        quarters = math.ceil(NUM_LENGTHS * num_steps / self._num_steps)
        padded_steps = max(num_steps, math.ceil(self._num_steps * quarters / NUM_LENGTHS))
        key = (name, padded_steps, num_trials)
        if key not in self._programs:
            if len(self._programs) >= MAX_PROGRAMS:
                self.release()
            self._programs[key] = self._program_of(name, spaces, padding_for(minibatch, padded_steps))
        held, program = self._programs[key]
        held.steps.is_valid.zero_()
        for target, source in zip(tensors_of(held), tensors_of(minibatch), strict=True):
            (target[: len(source)] if target.ndim else target).copy_(source)
        return program()

    def release(self) -> None:
        """Release the recordings, and the gradients that lie in their memory pool."""
        for _held, program in self._programs.values():
            program.release()
        self._programs.clear()
        self._learner.forget_gradients()
        self._space.renew()

    def _program_of(self, name: str, spaces: SpacePair, held: Minibatch) -> tuple[Minibatch, CapturedProgram[Tensor]]:
        def program() -> Tensor:
            return self._learner.minibatch_step(name, spaces, held)

        return held, CapturedProgram(program, space=self._space)

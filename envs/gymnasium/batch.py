"""Plain Gymnasium environments as a batch of tasks: this module draws the tasks, and a worker steps them.

Shapes: B trials, D observation width, n action width, P task parameters.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from envs.errors import EnvsError
from envs.family import FamilySpec, Split, in_pool
from envs.gymnasium.frames import Frame, decoded
from envs.gymnasium.interface import Interface
from envs.gymnasium.process import WorkerProcess
from envs.gymnasium.shared_arrays import USUAL_STEPS, memory_layout, most_trials
from envs.gymnasium.task_drawing import Task, draw_one, drawn_values, task_label, task_numbers
from envs.gymnasium.working_folder import WorkingFolder
from envs.limits import WorkerLimits
from envs.pace import Pace
from envs.random_actions import nearest_allowed
from envs.spaces import SpacePair
from envs.task_batch import Transition


class WorkerTaskBatch:
    """A batch of B tasks of a family in one worker process.

    ``step`` calls ``step_begin`` and ``step_end``. A learner that can use the time in between, for example for another
    half of the batch or for another worker, calls the two itself.

    Args:
        spec: the family.
        num_trials: B at most. A batch of long trials with images has fewer, so that it fits into memory, and one of a
            family whose copies cannot share a process as many as it declares.
        device: the device of the returned observations and rewards.
        limits: memory and time limits of the worker.
        on_wait: called repeatedly while the worker works; an exception from it ends the wait.
        render_mode: ``rgb_array`` or ``ansi`` to draw a frame after each reset and step; None draws nothing.

    Raises:
        FamilySpecError: the description does not fit the environment.
        UnsupportedSpaceError: no encoder or head exists for a space.
        WorkerFaultError: the worker did not start.
    """

    def __init__(
        self,
        spec: FamilySpec,
        *,
        num_trials: int,
        device: torch.device | str,
        limits: WorkerLimits | None = None,
        on_wait: Callable[[], None] | None = None,
        render_mode: str | None = None,
    ) -> None:
        self.spec = spec
        self._render_mode = render_mode
        self.num_trials = num_trials
        self.may_truncate = True
        self.num_begins = 0
        self.recurs = spec.recurring > 0
        self.device = torch.device(device)
        self._tasks: list[Task] = []
        self._contexts: list[bytes | None] = []
        self._has_masks = False
        self._is_closed = False
        self._folder = WorkingFolder(spec)
        try:
            self._process = WorkerProcess(spec, limits or WorkerLimits(), folder=self._folder, on_wait=on_wait)
        except BaseException:
            self._folder.close()
            raise
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def begin(self, first_task: int, *, split: Split) -> Tensor:
        """Begin tasks ``first_task … first_task + B - 1`` of a split, one per row; return the first observations."""
        rows = torch.arange(self.num_trials)
        return self.begin_tasks(first_task + rows, torch.zeros_like(rows), split=split)

    def begin_tasks(self, tasks: Tensor, exposures: Tensor, *, split: Split) -> Tensor:
        """Begin one given task in each row; see :class:`envs.task_batch.RecurringTaskBatch`."""
        self.start_tasks(tasks, exposures, split=split)
        return self.await_tasks()

    def start_tasks(self, tasks: Tensor, exposures: Tensor, *, split: Split) -> None:
        """Send the tasks of :meth:`begin_tasks` to the worker. A call of :meth:`await_tasks` must follow."""
        self._check_open()
        self.num_begins += 1
        numbers = list(zip(tasks.tolist(), exposures.tolist(), strict=True))
        self._tasks = [draw_one(self.spec, split, index, exposure=exposure) for index, exposure in numbers]
        self._places = [(split, in_pool(self.spec, split, index, 0)[0]) for index, _ in numbers]
        described = [
            {**task.to_json(), "label": task_label(task, *place)}
            for task, place in zip(self._tasks, self._places, strict=True)
        ]
        self._process.send({"type": "begin", "tasks": described})

    def await_tasks(self) -> Tensor:
        """Wait until the tasks of :meth:`start_tasks` have begun, and return the first observations."""
        self._take_contexts(self._process.answer("begin"))
        self._interface.begin(self._tasks)
        return self._seen(self._observation)

    def begin_chosen(self, tasks: Sequence[Task]) -> Tensor:
        """Begin given tasks in the first rows. The remaining rows must not be stepped.

        Each row has its own state of the global random generators. So a row depends only on its task and its actions,
        unless the environments share something else.

        Args:
            tasks: k tasks, at most B.

        Returns:
            [k, D] first observations.
        """
        self._check_open()
        self.num_begins += 1
        self._places, self._tasks = [(Split.TRAINING, row) for row in range(len(tasks))], list(tasks)
        request = {
            "type": "begin",
            "own_generators": True,
            "tasks": [{**task.to_json(), "label": f"a task{drawn_values(task)}"} for task in tasks],
        }
        self._take_contexts(self._process.ask(request))
        self._interface.begin(self._tasks)
        return self._seen(self._observation[: len(tasks)])

    def begin_row(self, row: int, index: int, *, split: Split) -> Tensor:
        """Begin task ``index`` of a split in one row, while the other rows go on with theirs.

        For learners to which each episode is a new task. All rows must have begun before, by :meth:`begin`.

        Returns:
            [D] first observation of the row.
        """
        self._check_open()
        task, place = draw_one(self.spec, split, index), (split, in_pool(self.spec, split, index, 0)[0])
        request = {"type": "begin_row", "row": row, "task": {**task.to_json(), "label": task_label(task, *place)}}
        answer = self._process.ask(request)
        self._contexts[row] = _digest(answer["context"])
        self._has_masks |= bool(answer.get("has_masks"))
        self._tasks[row], self._places[row] = task, place
        self._interface.begin_row(row, task)
        return self._seen(self._observation)[row]

    def undone_attributes(self) -> dict[str, tuple[str, str]]:
        """Return the varied attributes that a reset overwrote; tasks must be begun again afterwards.

        Returns:
            Name → the value drawn for a task, and the present value in its environment.
        """
        self._check_open()
        answer = self._process.ask({"type": "undone"})
        return {name: (drawn, present) for name, (drawn, present) in answer["undone"].items()}

    def step(self, action: Tensor, active: Tensor) -> Transition:
        """Take one step in every active row."""
        self.step_begin(action, active)
        return self.step_end()

    def step_begin(self, action: Tensor, active: Tensor) -> None:
        """Send the actions to the worker and return at once. A call of :meth:`step_end` must follow.

        Raises:
            ValueError: an action is not finite. This is an error of the policy, not of the environment.
        """
        self._check_open()
        self._active.copy_(active)
        if self._interface.has_changes:
            action = self._interface.change_actions(action.cpu(), self._active)
        if self._has_masks:
            action = nearest_allowed(self.spaces.action, action.cpu(), self._allowed)
        if self.spaces.action.has_numbers:
            values = action.cpu().numpy()
            if not np.isfinite(values).all():
                raise ValueError(f"stepping family {self.spec.name!r}: the policy's actions hold NaN or infinity.")
            self._action_array[...] = self.spaces.action.to_environment(values)
        else:
            self._action.copy_(action.view(self._action.shape))
            if self._has_start:
                self._action_array += self._start
        self._process.step_begin()

    def step_end(self) -> Transition:
        """Wait for the step that :meth:`step_begin` started, and return its result."""
        has_ends = self._process.step_end()
        observation = self._seen(self._observation)
        if not has_ends:
            reward = self._interface.finish_step(self._reward.clone(), None, self._active).to(self.device)
            return Transition(
                observation=observation,
                reward=reward,
                terminated=self._never,
                truncated=self._never,
                final_observation=observation,
            )
        terminated, truncated = self._terminated.clone(), self._truncated.clone()
        has_ended = terminated | truncated
        reward = self._interface.finish_step(self._reward.clone(), has_ended, self._active).to(self.device)
        final_observation = torch.where(has_ended.unsqueeze(1), self._final_observation, self._observation)
        return Transition(
            observation=observation,
            reward=reward,
            terminated=terminated.to(self.device),
            truncated=truncated.to(self.device),
            final_observation=self._seen(final_observation),
        )

    @property
    def is_drawing(self) -> bool:
        """Return whether the worker draws frames."""
        return self._render_mode is not None

    def frames(self) -> list[Frame]:
        """Return the frames that were drawn since the last call."""
        self._check_open()
        return [decoded(frame) for frame in self._process.ask({"type": "frames"})["frames"]]

    def allowed_choices(self) -> Tensor | None:
        """Return which choices the next actions may take, [B, C] bool; None if no environment gave an action mask.

        An environment that gives none allows everything. A choice that is not allowed and is taken nevertheless is
        replaced by the next allowed one of its dimension.
        """
        return self._interface.change_masks(self._allowed.clone()).to(self.device) if self._has_masks else None

    def check(self, *, within_s: float = math.inf) -> dict[str, Any]:
        """Run Gymnasium's environment checker in the worker, and end it after ``within_s`` seconds.

        Returns:
            ``warnings``: the checker's warnings; ``failure``: the error that ended it, or None; ``is_whole``: whether
            there was enough time.
        """
        self._check_open()
        return self._process.ask({"type": "check", "within_s": within_s})

    def check_contract(self, *, max_steps: int, max_s: float, within_s: float = math.inf) -> dict[str, Any]:
        """Check one task against the contract of an environment in the worker.

        Args:
            max_steps: number of steps of one run.
            max_s: time after which the first run takes no further step; the other runs take as many steps.
            within_s: time after which the environment is not called any more.

        Returns:
            ``findings``: a list of ``kind``, ``call``, ``found``, ``count``; ``is_replayed``: whether a seed and
            actions determine what happens, None if unknown; ``has_mask``: whether actions are masked; ``times``:
            seconds of ``make_s``, ``reset_s``, ``slowest_reset_s``, ``step_s``, ``step_cpu_s``; ``unchecked``: the
            parts for which no time was left.
        """
        self._check_open()
        request = {"type": "contract", "max_steps": max_steps, "max_s": max_s, "within_s": within_s}
        return self._process.ask(request)

    def effective_numbers(self, factor: float, *, within_s: float = math.inf) -> dict[str, Any]:
        """Return the numbers among the environment's attributes that change its dynamics.

        The worker plays the same random actions from the same seed with each number divided and multiplied by the
        factor, for at most ``within_s`` seconds.

        Returns:
            ``numbers``: name → value; ``is_replayed``: whether the environment replays, without which nothing can be
            said, None if there was no time to find out; ``is_whole``: whether there was enough time for all numbers.
        """
        self._check_open()
        return self._process.ask({"type": "numbers", "factor": factor, "within_s": within_s})

    def task_parameters(self) -> Tensor:
        """Return the drawn values of the variations as numbers, [B, P] float32.

        A choice gives its index. A map gives one number per cell (1 for a hole). P is 0 without variations.
        """
        rows = [task_numbers(self.spec.variations, task) for task in self._tasks]
        return torch.tensor(rows, dtype=torch.float32, device=self.device).view(len(rows), -1)

    def describe_tasks(self, rows: list[int]) -> list[dict[str, Any]]:
        """Return the tasks in the given rows as JSON values, with ``context``, the digest of a context they gave."""
        return [self._described(row) for row in rows]

    def _described(self, row: int) -> dict[str, Any]:
        split, index = self._places[row]
        context = self._contexts[row]
        given = {} if context is None else {"context": context.hex()}
        return {"split": split.value, "index": index, **self._tasks[row].to_json(), **given}

    def context_digests(self, rows: list[int]) -> list[bytes | None]:
        """Return the digests of ``info["context"]`` of the tasks in the given rows, as their first reset gave it."""
        return [self._contexts[row] for row in rows]

    def _take_contexts(self, answer: dict[str, Any]) -> None:
        self._contexts = [_digest(text) for text in answer.get("contexts") or [None] * len(self._tasks)]
        self._has_masks = bool(answer.get("has_masks"))

    def close(self) -> None:
        """End the worker and release the shared memory; safe to call twice."""
        if not self._is_closed:
            self._is_closed = True
            self._drop_arrays()
            self._process.close()
            self._folder.close()

    @property
    def pace(self) -> Pace:
        """The usual speed of the environment, as far as it is known."""
        return self._process.pace

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    def _open(self) -> None:
        first_task = draw_one(self.spec, Split.TRAINING, 0)
        configuration = {
            "entry": self.spec.entry,
            "kwargs": self.spec.kwargs,
            "wrappers": [wrapper.to_json() for wrapper in self.spec.wrappers],
            "import_paths": list(self.spec.import_paths),
            "working_folder": self._folder.path,
            "max_episode_steps": self.spec.max_episode_steps,
            "render_mode": self._render_mode,
            "image_size": self.spec.image_size,
            "is_alone": self.spec.copies == 1,
        }
        described = self._process.configure(configuration, first_task.to_json())
        # ``module:*`` is the name of the only class from here on.
        self.spec = replace(self.spec, entry=described["entry"])
        self.spaces = SpacePair.from_json(described["spaces"])
        self.max_episode_steps: int | None = described["max_episode_steps"]
        self.reward_threshold: float | None = described["reward_threshold"]
        self.frames_per_s: float = described["frames_per_s"]
        most = most_trials(self.spaces, (self.max_episode_steps or USUAL_STEPS) * self.spec.episodes_per_trial)
        self.num_trials = min(self.num_trials, most or self.num_trials, self.spec.copies or self.num_trials)
        self._interface = Interface(self.spec.variations, self.spaces, num_trials=self.num_trials)
        layout, size_bytes = memory_layout(self.spaces, self.num_trials)
        memory = self._process.share_memory(size_bytes)
        arrays: dict[str, NDArray[Any]] = {
            name: np.frombuffer(memory, dtype=dtype, count=int(np.prod(shape)), offset=offset).reshape(shape)
            for name, (offset, dtype, shape) in layout.items()
        }
        self._take_arrays(arrays)
        request = {"type": "open", "num_tasks": self.num_trials, "size": size_bytes, "layout": layout}
        self._process.ask(request)
        self._process.follow_progress(arrays["progress"], self.num_trials)

    def _seen(self, observation: Tensor) -> Tensor:
        """Return the policy's copy of the environments' observations."""
        return self._interface.change_observations(observation.clone()).to(self.device)

    def _take_arrays(self, arrays: dict[str, NDArray[Any]]) -> None:
        self._action_array = arrays["action"]
        self._action = torch.from_numpy(arrays["action"])
        self._allowed = torch.from_numpy(arrays["allowed"])
        self._active = torch.from_numpy(arrays["active"])
        self._observation = torch.from_numpy(arrays["observation"])
        self._final_observation = torch.from_numpy(arrays["final_observation"])
        self._reward = torch.from_numpy(arrays["reward"])
        self._terminated = torch.from_numpy(arrays["terminated"])
        self._truncated = torch.from_numpy(arrays["truncated"])
        self._never = torch.zeros(self.num_trials, dtype=torch.bool, device=self.device)
        self._start = np.asarray(self.spaces.action.start, dtype=np.int64)
        self._has_start = bool(self._start.any())

    def _drop_arrays(self) -> None:
        for name in (
            "_action_array", "_action", "_allowed", "_active", "_observation",
            "_final_observation", "_reward", "_terminated", "_truncated",
        ):  # fmt: skip
            self.__dict__.pop(name, None)

    def _check_open(self) -> None:
        if self._is_closed or self._process.is_closed:
            raise EnvsError(
                operation="stepping family",
                subject=self.spec.name,
                found="its worker is closed.",
                hint="Open its tasks again.",
            )


def _digest(text: str | None) -> bytes | None:
    return None if text is None else bytes.fromhex(text)

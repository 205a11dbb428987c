"""``learnd policy watch``: shows a published version acting in a family, episode by episode of a trial."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol, runtime_checkable

import typer

from agent.cli.console import PlainConsole
from agent.cli.errors import CommandError
from agent.cli.experiment_options import check_folder, cleaning_up
from agent.cli.invocation import Invocation, command, find_family
from agent.cli.output import styled
from agent.cli.policy import find_version
from agent.cli.status import CLEAR_SCREEN
from agent.output.quantities import short_number
from agent.output.video import VideoWriter, captioned, check_video_file, writing_video
from envs.family import FamilySource
from envs.kinds import FamilyKind
from memory.records import Family, Initialization

if TYPE_CHECKING:
    from agent.policies.acting import ActingPolicy
    from agent.policies.watching import Moment, WatchedEpisode
    from envs.gymnasium.frames import Frame
    from envs.task_batch import TaskBatch
    from memory.store import Store

OPERATION = "watching family"
PAUSE_S = 0.7
"""Time for which the last frame of an episode is shown, so that its return can be read."""


@runtime_checkable
class DrawingTaskBatch(Protocol):
    """A batch of tasks in a worker that can draw."""

    frames_per_s: float

    @property
    def is_drawing(self) -> bool:
        """Return whether the worker draws frames."""
        ...

    def frames(self) -> list[Frame]:
        """Return the frames that were drawn since the last call."""
        ...


@dataclass(frozen=True, kw_only=True)
class _Watched:
    """A trial that was watched: the number of its held-out task, and its episodes."""

    task: int
    episodes: tuple[WatchedEpisode, ...]


EXAMPLES = (
    "learnd policy watch cartpole",
    "learnd policy watch cartpole --video cartpole.mp4",
    "learnd policy watch frozenlake --live --fps 5",
)


def register(app: typer.Typer) -> None:
    """Add the command to the group `learnd policy`."""
    command(app, "watch", examples=EXAMPLES)(watch_family)


def watch_family(
    invocation: Invocation,
    *,
    family: Annotated[str, typer.Argument(metavar="FAMILY", help="Name of the family.")],
    video: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a video of the trial to this .mp4 or .gif file.")
    ] = None,
    is_live: Annotated[
        bool, typer.Option("--live", help="Show each step in the terminal, if the environment renders text.")
    ] = False,
    version: Annotated[
        str | None, typer.Option("--version", metavar="VERSION", help="Number of a version; default: the served one.")
    ] = None,
    task: Annotated[int, typer.Option(min=0, help="Number of the first held-out task.")] = 0,
    trials: Annotated[int, typer.Option(min=1, help="Number of trials, each in the next held-out task.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the actions drawn.")] = 0,
    is_greedy: Annotated[bool, typer.Option("--greedy", help="Always take the most likely action.")] = False,
    fps: Annotated[
        float | None, typer.Option(min=0.1, max=60, help="Steps per second; default: the environment's own.")
    ] = None,
) -> None:
    """Show the served version acting in a family, episode by episode of a trial, and so how it adapts.

    The environment runs in a worker process. The command records nothing and does not disturb the daemon.
    """
    _check_output(invocation, family, video, is_live=is_live)
    with invocation.reading() as store:
        chosen = find_version(store, version, operation="watching")
        known = find_family(store, family, operation=OPERATION)
        policy = _policy(store, chosen, known)
    mode = "ansi" if is_live else "rgb_array" if video is not None else None
    with cleaning_up(), ExitStack() as stack:
        tasks = stack.enter_context(closing(_opened(invocation, known, mode)))
        rate = fps or (tasks.frames_per_s if isinstance(tasks, DrawingTaskBatch) else 30.0)
        shown = _Shown(invocation, title=f"{family} · version {chosen.version}", rate=rate, is_live=is_live)
        if video is not None:
            shown.video = stack.enter_context(writing_video(video, frames_per_s=rate))
        watched = [
            _watch(policy, tasks, known, shown, task=number, seed=seed, is_greedy=is_greedy)
            for number in range(task, task + trials)
        ]
    file = None if video is None else str(video.absolute())
    trials_played = [_trial_values(trial) for trial in watched]
    values = {"family": family, "version": chosen.version, "trials": trials_played, "video": file}
    invocation.answer(values, lambda out: _show(out, watched, video))


def _check_output(invocation: Invocation, family: str, video: Path | None, *, is_live: bool) -> None:
    """Check the options of the output before anything is opened.

    Raises:
        CommandError: options contradict each other, or the video's folder cannot be written to.
        VideoError: the video's name has another ending.
    """
    if video is not None:
        check_video_file(video)
        check_folder(video, operation="writing the video to")
    if is_live and (video is not None or invocation.is_json):
        raise CommandError(
            operation=OPERATION,
            subject=family,
            found="--live does not go together with --video or --json.",
            hint="Give one of them.",
        )


class _Shown:
    """The output while a policy acts: lines, frames in the terminal, or frames of a video.

    Args:
        invocation: the invocation, for its streams.
        title: the family and the version.
        rate: steps per second.
        is_live: show frames in the terminal.
    """

    def __init__(self, invocation: Invocation, *, title: str, rate: float, is_live: bool) -> None:
        self._invocation = invocation
        self._title = title
        self._rate = rate
        self._is_live = is_live
        self.video: VideoWriter | None = None

    def begin(self, task: int) -> None:
        """Say which task begins."""
        if not self._invocation.is_json:
            self._invocation.out.print(styled((self._title, "bold"), f", held-out task {task}"))

    def moment(self, moment: Moment, frame: Frame | None, num_episodes: int) -> None:
        """Show a moment with its frame, if there is one."""
        lines = _caption(moment, num_episodes)
        if self.video is not None and frame is not None and not isinstance(frame, str):
            picture = captioned(frame, [self._title, *lines])
            for _ in range(1 + int(self._rate * PAUSE_S) if moment.ended else 1):
                self.video.add(picture)
        if self._is_live and isinstance(frame, str):
            self._show_live(frame, lines)
            time.sleep(PAUSE_S if moment.ended else 1 / self._rate)
        if moment.ended and not self._invocation.is_json:
            self._invocation.out.print(_episode_text(moment.episode, num_episodes, moment.ended))

    def _show_live(self, frame: str, lines: Sequence[str]) -> None:
        from rich.text import Text

        out = self._invocation.out
        if out.is_terminal:
            out.file.write(CLEAR_SCREEN)
        for line in (self._title, *lines):
            out.print(line)
        # Only colours pass; all other escape codes of an environment are removed or shown.
        out.print(Text.from_ansi(frame.rstrip("\n")))
        out.file.flush()


def _watch(
    policy: ActingPolicy,
    tasks: TaskBatch,
    family: Family,
    shown: _Shown,
    *,
    task: int,
    seed: int,
    is_greedy: bool,
) -> _Watched:
    """Play one trial and show it."""
    from agent.policies.watching import watch_trial

    num_episodes = family.require_spec().episodes_per_trial
    episodes: list[WatchedEpisode] = []
    pending: list[Frame] = []
    shown.begin(task)
    for moment in watch_trial(policy, tasks, task=task, num_episodes=num_episodes, seed=seed, is_greedy=is_greedy):
        # The last step of an episode also resets, and so draws two frames: the second is that of the next moment.
        pending += tasks.frames() if isinstance(tasks, DrawingTaskBatch) and tasks.is_drawing else []
        shown.moment(moment, pending.pop(0) if pending else None, num_episodes)
        if moment.ended:
            episodes.append(moment.ended)
    return _Watched(task=task, episodes=tuple(episodes))


def _policy(store: Store, version: Initialization, family: Family) -> ActingPolicy:
    """Return a version's policy for a family.

    Raises:
        CommandError: the family has no policy that acts, or the version does not know its spaces.
        RemovedSettingError: the policy cannot act, because it learned with a setting that was removed.
    """
    from agent.learners.rl2.parameters import policy_from_initialization
    from agent.learners.rl2.removed_settings import stored_config
    from agent.learners.state import as_tensors
    from agent.policies.recurrent_acting import RecurrentPolicy
    from envs.spaces import SpacePair

    family.require_spec()
    if family.kind is not FamilyKind.ENVIRONMENTS:
        raise _refusal(family, "its tasks are few-shot tasks, in which nobody acts.", "Name a family of environments.")
    if family.spaces is None:
        raise _refusal(family, f"it is {family.state}: its spaces are not known yet.", "Start the service: learnd run.")
    spaces = SpacePair.from_json(family.spaces)
    tensors = as_tensors(store.checkpoints.load_parameters(version.file))
    policy = policy_from_initialization(stored_config(version.provenance["config"]), tensors, [spaces])
    if not policy.knows(spaces):
        found = f"version {version.version} does not know its spaces: it was published before the family was practised."
        raise _refusal(family, found, "Wait for the next version: `learnd schedule list` shows when it is due.")
    return RecurrentPolicy(policy)


def _opened(invocation: Invocation, family: Family, mode: str | None) -> TaskBatch:
    """Open one copy of the family's environment.

    Raises:
        CommandError: it should be drawn, and it is a tensor family.
        EnvsError: it cannot be opened, or it does not have the render mode.
    """
    from envs.gymnasium.batch import WorkerTaskBatch
    from envs.registry import open_tasks
    from envs.spaces import SpacePair

    spec, spaces = family.require_spec(), SpacePair.from_json(family.spaces or {})
    limits = invocation.settings.worker_limits()
    if mode is None:
        return open_tasks(spec, spaces, num_trials=1, device="cpu", limits=limits)
    if spec.source is FamilySource.TENSOR:
        raise _refusal(family, "it is a tensor family, which draws nothing.", "Omit --video and --live.")
    return WorkerTaskBatch(spec, num_trials=1, device="cpu", limits=limits, render_mode=mode)


def _trial_values(trial: _Watched) -> dict[str, Any]:
    episodes = [{"return": e.total, "steps": e.steps, "is_terminated": e.is_terminated} for e in trial.episodes]
    return {"task": trial.task, "episodes": episodes}


def _refusal(family: Family, found: str, hint: str) -> CommandError:
    return CommandError(operation=OPERATION, subject=family.name, found=found, hint=hint)


def _caption(moment: Moment, num_episodes: int) -> list[str]:
    """Return the caption of a frame: the episode with its return so far, and the returns of earlier episodes."""
    now = f"episode {moment.episode + 1} of {num_episodes}   step {moment.step}   return {short_number(moment.total)}"
    earlier = ", ".join(short_number(episode.total) for episode in moment.earlier)
    return [now, f"earlier episodes: {earlier or 'none'}"]


def _episode_text(index: int, num_episodes: int, episode: WatchedEpisode) -> str:
    end = "terminated" if episode.is_terminated else "truncated"
    steps = "1 step" if episode.steps == 1 else f"{episode.steps} steps"
    return f"episode {index + 1} of {num_episodes}: return {short_number(episode.total)} in {steps}, {end}"


def _show(out: PlainConsole, watched: Sequence[_Watched], video: Path | None) -> None:
    """Print the mean return by episode of several trials, and the file of the video."""
    if len(watched) > 1:
        by_episode = zip(*([episode.total for episode in trial.episodes] for trial in watched), strict=True)
        means: Any = " → ".join(short_number(sum(totals) / len(totals)) for totals in by_episode)
        out.print(f"mean return by episode of {len(watched)} trials: {means}")
    if video is not None:
        out.print(f"written: {video}")

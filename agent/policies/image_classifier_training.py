"""Training of a few-shot policy on a folder of characters by alphabet (Omniglot's layout): the recipe and the program.

Each member is a prototypical network with a residual embedding and its own seed. Processes of one core each train it
together; every process draws one task per update. ``docs/few-shot.md`` describes what the recipe adds to the paper, and
``docs/lab/few-shot-experiments.md`` the effect of each part.

``python -m agent.policies.image_classifier_training`` runs one of these processes. The first process of a member
reports its progress on stdout, one JSON object per line.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from agent.devices import describe_device
from agent.errors import AgentError
from agent.learners.config_json import config_from_json, config_to_json
from agent.learners.embedding.embeddings import EmbeddingConfig, EmbeddingKind
from agent.learners.embedding.prototypical import Distance, PrototypicalConfig, PrototypicalLearner
from agent.learners.embedding.training import TrainingConfig
from agent.learners.team import Team, joined
from agent.policies.image_classifier import FewShotPolicy
from agent.policies.image_classifier_defaults import MEMBERS, MINUTES, PROCESSES
from agent.policies.views import ViewConfig
from envs.family import Split
from envs.few_shot.images.classes import ImageClasses, read_image_folder
from envs.few_shot.images.folder import ImageFamily, ImageTaskConfig, check_classes
from envs.few_shot.images.strokes import StrokeConfig
from envs.few_shot.images.warps import WarpConfig
from envs.few_shot.tasks import FewShotShapes

REPORT_EVERY = 20
LOOK_EVERY_S = 0.2
CAUSE_WITHIN_S = 10.0
"""Longest wait for the end of a process that failed, after others ended because they lost the connection to it."""
LOST_CONNECTION = "gloo"
"""A word in the last lines of a process that lost the connection to another one."""

VIEWS_AN_ORIENTATION = 5
ALIGNING = WarpConfig(rotation_degrees=12.0, log_scale=0.16, shear=0.16, shift=0.04, bend=0.0)
"""The deformation of the second to fifth view of an orientation; the best match among all pairs of the five counts."""


class FewShotTrainingError(AgentError):
    """An error: a member could not be trained."""


@dataclass(frozen=True, kw_only=True)
class FewShotRecipe:
    """A recipe for the training of a policy.

    Attributes:
        members: B.
        processes: P, the number of processes that train a member together, each with its own task per update; each uses
            one core.
        updates: largest number of outer steps of each member.
        minutes: approximate limit of a member's training in wall time; a slower machine takes fewer updates.
        tasks: settings of a task.
        embedding: f_φ.
        distance: d between features.
        learning_rate: Adam's highest rate.
        average_decay: decay of the averaged weights.
        statistics_prior: weight of the running statistics relative to a task's support set, as a number of images.
    """

    members: int = MEMBERS
    processes: int = PROCESSES
    updates: int = 12_000
    minutes: float = MINUTES
    tasks: ImageTaskConfig = field(
        default_factory=lambda: ImageTaskConfig(
            ways=20,
            shots=1,
            queries=5,
            size=48,
            within_group=0.7,
            orientations=8,
            aligned=0.5,
            warp=WarpConfig(rotation_degrees=15.0, log_scale=0.2, shear=0.2, shift=0.08, bend=0.025),
            strokes=StrokeConfig(chance=0.4),
        )
    )
    embedding: EmbeddingConfig = field(
        default_factory=lambda: EmbeddingConfig(
            kind=EmbeddingKind.RESIDUAL, channels=(24, 32, 96, 192), is_bfloat16=True
        )
    )
    distance: Distance = Distance.TOLERANT
    learning_rate: float = 6e-3
    average_decay: float = 0.998
    statistics_prior: float = 10.0

    def learner(self, family: ImageFamily, *, seed: int, device: torch.device | str = "cpu") -> PrototypicalLearner:
        """Create a new member."""
        config = PrototypicalConfig(
            embedding=self.embedding,
            distance=self.distance,
            is_scale_learned=True,
            every_image_supports=True,
            statistics_prior=self.statistics_prior,
            training=TrainingConfig(
                learning_rate=self.learning_rate, planned_updates=self.updates, average_decay=self.average_decay
            ),
        )
        generator = torch.Generator().manual_seed(seed)
        return PrototypicalLearner(FewShotShapes.of(family), config, generator=generator, device=device)


@dataclass(frozen=True, kw_only=True)
class MemberProgress:
    """The progress of a member's training.

    Attributes:
        member: index of the member, from 0.
        update: outer steps taken.
        planned_updates: expected total number of outer steps at the current pace.
        loss: mean since the last report, over the first process's tasks.
        cpu_s: CPU time of the updates in the first process, in seconds.
    """

    member: int
    update: int
    planned_updates: int
    loss: float
    cpu_s: float


def train_member(
    classes: ImageClasses,
    recipe: FewShotRecipe,
    *,
    seed: int,
    member: int,
    report: Callable[[MemberProgress], None],
    device: torch.device | str = "cpu",
    team: Team | None = None,
) -> PrototypicalLearner:
    """Train one member. On a CPU equal arguments give equal members if the time suffices for all updates.

    Args:
        classes: the training classes.
        recipe: the recipe.
        seed: seed of the policy, from which members' seeds are derived.
        member: index of the member, from 0.
        report: called every few updates.
        device: device on which it learns.
        team: the processes that train it together, as many as in the recipe; None trains in this process alone.
    """
    team = team or Team()
    own_seed = 1_000 * seed + member
    family = ImageFamily(replace(recipe.tasks, seed=own_seed), training=classes)
    learner = recipe.learner(family, seed=own_seed, device=device)
    learner.join(team)
    planned, losses = recipe.updates, []
    started, started_cpu = time.monotonic(), time.process_time()
    while learner.num_updates < planned:
        first_task = team.size * learner.num_updates + team.place
        batch = family.sample(1, split=Split.TRAINING, first_task=first_task, device=device)
        losses.append(learner.update(batch)["loss"])
        done = learner.num_updates
        planned = team.first_of(updates_in_time(recipe, done=done, elapsed_s=time.monotonic() - started))
        learner.plan_updates(planned)
        if done % REPORT_EVERY == 0 or done == planned:
            mean, cpu_s = sum(losses) / len(losses), time.process_time() - started_cpu
            report(MemberProgress(member=member, update=done, planned_updates=planned, loss=mean, cpu_s=cpu_s))
            losses.clear()
    learner.share_statistics()
    return learner


def updates_in_time(recipe: FewShotRecipe, *, done: int, elapsed_s: float) -> int:
    """Return the total number of updates: the recipe's number, or what the time allows at the current pace.

    It is recomputed after every update, so that the learning rate has fallen when the time is up, at any speed.
    """
    return max(done, min(recipe.updates, int(done * 60.0 * recipe.minutes / elapsed_s)))


def policy_of(
    members: Sequence[PrototypicalLearner],
    classes: ImageClasses,
    recipe: FewShotRecipe,
    *,
    seed: int,
    device: torch.device | str = "cpu",
) -> FewShotPolicy:
    """Build a policy from trained members. They learned on the device and are now on the CPU."""
    provenance: dict[str, Any] = {
        "recipe": config_to_json(recipe),
        "seed": seed,
        "device": describe_device(torch.device(device)),
        "updates": [member.num_updates for member in members],
        "groups": {group: sum(found.group == group for found in classes.classes) for group in classes.groups},
    }
    orientations = recipe.tasks.orientations
    views = ViewConfig(
        count=VIEWS_AN_ORIENTATION * orientations, orientations=orientations, warp=ALIGNING, is_aligned=True
    )
    return FewShotPolicy(members, views=views, ink_extent=classes.ink_extent, provenance=provenance)


def train_policy(
    data: Sequence[Path],
    recipe: FewShotRecipe,
    *,
    hold_out: Sequence[str] = (),
    seed: int = 0,
    report: Callable[[MemberProgress], None] = lambda _: None,
    device: torch.device | str = "cpu",
) -> FewShotPolicy:
    """Train a policy's members in parallel, each in the recipe's number of single-threaded processes.

    Args:
        data: folders or zip files of alphabet/class/image.
        recipe: the recipe.
        hold_out: alphabets that are excluded from training.
        seed: seed of the policy.
        report: called with the progress of members, from one thread at a time.
        device: device on which all members learn.

    Raises:
        FewShotTrainingError: a process failed; the error contains the end of its stderr.
        ImageReadError: the data cannot be read.
        FamilySpecError: no task can be drawn from the data.
    """
    classes, _ = read_image_folder(*data).hold_out_groups(hold_out)
    check_classes(classes, recipe.tasks, recipe.tasks.orientations)
    with tempfile.TemporaryDirectory(prefix="learnd-few-shot-") as folder:
        asked = {
            "recipe": config_to_json(recipe),
            "data": [str(path) for path in data],
            "hold_out": list(hold_out),
            "device": str(device),
            "seed": seed,
            "folder": folder,
        }
        requests = _requests(asked, recipe)
        with ExitStack() as running:
            _follow([running.enter_context(_training_process(request)) for request in requests], recipe, report)
        members = [_load_member(Path(folder) / f"{member}.safetensors") for member in range(recipe.members)]
    return policy_of(members, classes, recipe, seed=seed, device=device)


def _requests(asked: Mapping[str, Any], recipe: FewShotRecipe) -> list[str]:
    """Return a request, as JSON, for each process of each member."""
    return [
        json.dumps({**asked, "member": member, "place": place})
        for member in range(recipe.members)
        for place in range(recipe.processes)
    ]


@contextmanager
def _training_process(request: str) -> Iterator[subprocess.Popen[str]]:
    """Start a process that trains a member, alone or with others, and kill it at the end of the block."""
    command = [sys.executable, "-m", "agent.policies.image_classifier_training"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, errors="replace") as process:
        try:
            if process.stdin is not None:
                process.stdin.write(request)
                process.stdin.close()
            yield process
        finally:
            process.kill()


def _wait_for_the_cause(processes: Sequence[subprocess.Popen[str]], last_words: Mapping[int, str]) -> None:
    """Wait for a process that failed by itself, where those that ended only lost the connection to it."""
    give_up_at = time.monotonic() + CAUSE_WITHIN_S
    while time.monotonic() < give_up_at and any(process.poll() is None for process in processes):
        failed = [number for number, process in enumerate(processes) if process.poll()]
        if any(LOST_CONNECTION not in last_words.get(number, LOST_CONNECTION) for number in failed):
            return
        time.sleep(LOOK_EVERY_S)


def _follow(
    processes: Sequence[subprocess.Popen[str]], recipe: FewShotRecipe, report: Callable[[MemberProgress], None]
) -> None:
    """Forward the members' reports until all processes have ended."""
    one_at_a_time = threading.Lock()
    last_words: dict[int, str] = {}

    def read_reports(stream: Any) -> None:
        for line in stream:
            with one_at_a_time:
                report(MemberProgress(**json.loads(line)))

    def read_errors(number: int, stream: Any) -> None:
        last_words[number] = stream.read()[-2_000:]

    threads = [threading.Thread(target=read_reports, args=(process.stdout,)) for process in processes]
    threads += [threading.Thread(target=read_errors, args=(k, process.stderr)) for k, process in enumerate(processes)]
    for thread in threads:
        thread.start()
    while any(process.poll() is None for process in processes) and not any(process.poll() for process in processes):
        time.sleep(LOOK_EVERY_S)
    _wait_for_the_cause(processes, last_words)
    failed = [number for number, process in enumerate(processes) if process.poll()]
    if failed:
        for process in processes:
            process.kill()  # others may wait for the process that failed
    for thread in threads:
        thread.join()
    if failed:
        # Other processes of its team may have ended too, because gloo lost the connection.
        cause = min(failed, key=lambda number: LOST_CONNECTION in last_words[number])
        raise FewShotTrainingError(
            operation="training member",
            subject=str(cause // recipe.processes),
            found=f"its process ended with status {processes[cause].returncode}:\n{last_words[cause]}",
            hint="Where it was killed (status -9) there is too little memory: ask for --members 1 --processes 1. Where "
            "a GPU's is full (OutOfMemoryError): for that, or --device cpu.",
        )


def _load_member(path: Path) -> PrototypicalLearner:
    tensors = load_file(path)
    meta = json.loads(path.with_suffix(".json").read_text())
    return PrototypicalLearner.from_tensors(tensors, meta)


def main() -> None:
    """Train the member that the request on stdin describes, with the rank in the request."""
    argparse.ArgumentParser(prog="python -m agent.policies.image_classifier_training", description=__doc__).parse_args()
    asked = json.load(sys.stdin)
    torch.set_num_threads(1)
    classes, _ = read_image_folder(*map(Path, asked["data"])).hold_out_groups(asked["hold_out"])
    recipe, member, place = config_from_json(FewShotRecipe, asked["recipe"]), asked["member"], asked["place"]
    folder = Path(asked["folder"])

    def report(progress: MemberProgress) -> None:
        if place == 0:
            sys.stdout.write(json.dumps(asdict(progress)) + "\n")
            sys.stdout.flush()

    with joined(place=place, size=recipe.processes, meeting_file=folder / f"{member}.meeting") as team:
        learner = train_member(
            classes, recipe, seed=asked["seed"], member=member, report=report, device=asked["device"], team=team
        )
    if place == 0:
        output = folder / f"{member}.safetensors"
        save_file(learner.initialization(), output)
        output.with_suffix(".json").write_text(json.dumps(learner.to_meta()))


if __name__ == "__main__":
    main()

"""``learnd few-shot``: classifies images of new classes from a few examples, and trains policies for that."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.console import PlainConsole
from agent.cli.errors import CommandError
from agent.cli.experiment_options import LARGEST_SEED, NOTE_EVERY_S, check_folder, cleaning_up
from agent.cli.invocation import Invocation, command, group
from agent.cli.output import new_table
from agent.cli.policy import find_version
from agent.config.paths import OMNIGLOT_HINT, OMNIGLOT_VARIABLE, omniglot_folder
from agent.config.settings import DeviceChoice
from agent.output.quantities import NOTHING, short_duration, short_size
from agent.policies.image_classifier_defaults import MEMBERS, MINUTES, PROCESSES
from memory.files.parameters import ParameterFolder

if TYPE_CHECKING:
    import torch

    from agent.policies.image_classifier import FewShotPolicy
    from agent.policies.image_classifier_training import MemberProgress
    from envs.few_shot.images.one_shot_runs import OneShotRun

Device = Annotated[DeviceChoice, typer.Option(help="Device to compute on; auto: the GPU if there is one.")]

Policy = Annotated[str, typer.Option(metavar="VERSION|FILE", help="A published version, or a safetensors file.")]
FamilyName = Annotated[
    str | None, typer.Option(metavar="NAME", help="Family of images; needed if a published version has several.")
]

few_shot_app = typer.Typer(help="Classify images of new classes from a few examples.", no_args_is_help=True)
group(few_shot_app)


@command(
    few_shot_app,
    "predict",
    examples=(
        "learnd few-shot predict --policy few-shot-policy.safetensors --support ./known --query ./unknown",
        "learnd few-shot predict --policy 3 --family omniglot --support ./known --query ./unknown --json",
    ),
)
def predict(
    invocation: Invocation,
    *,
    policy: Policy,
    support: Annotated[
        Path,
        typer.Option(metavar="FOLDER", help="Known images: CLASS/IMAGE files, or one image per class, named after it."),
    ],
    query: Annotated[Path, typer.Option(metavar="FOLDER", help="Images to classify.")],
    family: FamilyName = None,
    device: Device = DeviceChoice.AUTO,
) -> None:
    """Predict the class of each query image, given a few images of each class.

    The classes may be new to the policy. Strokes may be dark on light or light on dark, anywhere in the image. Each
    query image is classified independently of the other query images.
    """
    from envs.few_shot.images.task_folders import are_blank, read_query_folder, read_support_folder

    known = read_support_folder(support)
    asked = read_query_folder(query)
    with _computing(invocation, policy, family, device) as chosen:
        probabilities = chosen.adapt(known.images, known.labels).probabilities(asked.images)
    predictions = [
        _prediction(name, dict(zip(known.class_names, row, strict=True)), is_blank=is_blank)
        for name, row, is_blank in zip(
            asked.names, probabilities.tolist(), are_blank(asked.images).tolist(), strict=True
        )
    ]
    for prediction in predictions:
        if prediction["label"] is None:
            invocation.note(f"{prediction['image']}: the image is blank, so no class is predicted.")
    values = {"policy": policy, "classes": list(known.class_names), "predictions": predictions}
    invocation.answer(values, lambda out: _show_predictions(out, predictions))


@command(
    few_shot_app,
    "score",
    examples=(
        "learnd few-shot score --policy few-shot-policy.safetensors ./all_runs",
        "learnd few-shot score --policy 3 --family omniglot ./all_runs --json",
    ),
)
def score(
    invocation: Invocation,
    runs: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Folder of runs, each with a class_labels.txt."),
    ],
    *,
    policy: Policy,
    family: FamilyName = None,
    device: Device = DeviceChoice.AUTO,
) -> None:
    """Count the errors of a policy on one-shot runs, in the layout of Omniglot's official ones.

    Each run shows one image of each class. Each test image is classified independently of the others. The answer lists
    the errors of every run and in all.
    """
    from envs.few_shot.images.one_shot_runs import read_runs

    found = read_runs(runs)
    scores = []
    with _computing(invocation, policy, family, device) as chosen, invocation.progress() as progress:
        bar = progress.add_task("scoring runs", total=len(found))
        for run in found:
            scores.append(_score_run(chosen, run))
            progress.advance(bar)
    values = {"policy": policy, "runs": scores, **_total(scores)}
    invocation.answer(values, lambda out: _show_scores(out, values))


@command(
    few_shot_app,
    "train",
    examples=(
        "learnd few-shot train --data ./omniglot --output few-shot-policy.safetensors",
        "learnd few-shot train --data ./omniglot --hold-out Korean --minutes 10 --output without-korean.safetensors",
    ),
)
def train(
    invocation: Invocation,
    *,
    output: Annotated[Path, typer.Option(metavar="FILE", help="Safetensors file to write.")] = Path(
        "few-shot-policy.safetensors"
    ),
    data: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help=f"Folder or zip file of ALPHABET/CLASS/IMAGE; may be repeated. Without it: ${OMNIGLOT_VARIABLE}.",
        ),
    ] = None,
    hold_out: Annotated[
        list[str] | None, typer.Option(metavar="ALPHABET", help="Alphabet to exclude from training; may be repeated.")
    ] = None,
    minutes: Annotated[float, typer.Option(min=0.01, help="Wall-clock limit of the updates, in minutes.")] = MINUTES,
    updates: Annotated[
        int | None, typer.Option(min=1, help="Updates of each network; --minutes may stop it earlier.")
    ] = None,
    members: Annotated[int, typer.Option(min=1, help="Number of networks whose predictions are averaged.")] = MEMBERS,
    processes: Annotated[
        int, typer.Option(min=1, help="Processes that train a network, one task each per update; each uses a core.")
    ] = PROCESSES,
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of the initial parameters and the tasks.")
    ] = 0,
    device: Device = DeviceChoice.AUTO,
) -> None:
    """Train a policy that classifies new characters, and write it to a file.

    The training data are alphabets of characters. The file is written atomically at the end. On a slow or busy
    machine, fewer updates fit into the time limit.
    """
    from dataclasses import replace

    from agent.devices import choose_device
    from agent.policies.image_classifier_training import FewShotRecipe, train_policy

    check_folder(output, operation="writing the policy to")
    recipe = FewShotRecipe(members=members, processes=processes, minutes=minutes)
    recipe = recipe if updates is None else replace(recipe, updates=updates)
    places = data or [_usual_data()]
    where = choose_device(device)
    started = time.monotonic()
    with cleaning_up(), _progress(invocation, members) as report:
        policy = train_policy(places, recipe, hold_out=hold_out or [], seed=seed, report=report, device=where)
    sha256 = policy.save(output)
    values = {
        "file": str(output.absolute()),
        "sha256": sha256,
        "size_bytes": output.stat().st_size,
        "device": policy.provenance["device"],
        "updates": policy.provenance["updates"],
        "groups": policy.provenance["groups"],
        "duration_s": time.monotonic() - started,
    }
    invocation.answer(values, lambda out: _show_trained(out, output, values))


def _prediction(name: str, probabilities: dict[str, float], *, is_blank: bool) -> dict[str, Any]:
    """Return the prediction for one image. A blank image gets no label and equal probabilities."""
    if is_blank:
        chance = 1.0 / len(probabilities)
        equal = dict.fromkeys(probabilities, chance)
        return {"image": name, "label": None, "probability": chance, "probabilities": equal}
    label = max(probabilities, key=probabilities.__getitem__)
    return {"image": name, "label": label, "probability": probabilities[label], "probabilities": probabilities}


def _score_run(policy: FewShotPolicy, run: OneShotRun) -> dict[str, Any]:
    """Return the wrongly classified images of a run."""
    probabilities = policy.adapt(run.support.images, run.support.labels).probabilities(run.query.images)
    predicted = probabilities.argmax(dim=1).tolist()
    names = run.support.class_names
    wrong = [
        {"image": image, "class": names[true], "predicted": names[guess]}
        for image, true, guess in zip(run.query.names, run.classes.tolist(), predicted, strict=True)
        if true != guess
    ]
    return {"run": run.name, "ways": len(names), "queries": len(predicted), "errors": len(wrong), "wrong": wrong}


def _total(scores: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the errors of all runs, with the standard error over images of their share."""
    queries, errors = sum(run["queries"] for run in scores), sum(run["errors"] for run in scores)
    share = errors / queries
    standard_error = (share * (1.0 - share) / queries) ** 0.5
    return {"queries": queries, "errors": errors, "error_rate": share, "standard_error": standard_error}


@contextmanager
def _computing(
    invocation: Invocation, policy: str, family: str | None, device: DeviceChoice
) -> Iterator[FewShotPolicy]:
    """Load a policy and yield it; until the end, everything is computed on a device with the usual threads."""
    from agent.devices import choose_device, computing_on, default_threads, with_threads

    where = choose_device(device)
    with computing_on(where), with_threads(default_threads()):
        yield _load_policy(invocation, policy, family, where)


def _load_policy(invocation: Invocation, policy: str, family: str | None, device: torch.device) -> FewShotPolicy:
    from agent.policies.published_classifiers import few_shot_from_bytes, load_few_shot

    file = Path(policy)
    if file.is_file():
        return load_few_shot(file, family, device=device)
    if not policy.lower().removeprefix("v").isdigit():
        raise CommandError(
            operation="reading few-shot policy",
            subject=policy,
            found="there is no such file.",
            hint="Name a safetensors file from `learnd few-shot train`, or the number of a published version.",
        )
    with invocation.reading() as store:
        chosen = find_version(store, policy, operation="reading few-shot policy")
    content = ParameterFolder(invocation.folder.parameters_path).read(chosen.file)
    return few_shot_from_bytes(content, subject=f"version {chosen.version}", family=family, device=device)


def _usual_data() -> Path:
    place = omniglot_folder()
    if place is not None and place.exists():
        return place
    raise CommandError(
        operation="training a few-shot policy on",
        subject=f"${OMNIGLOT_VARIABLE}" if place is None else str(place),
        found=f"neither --data nor ${OMNIGLOT_VARIABLE} is given." if place is None else "it does not exist.",
        hint=OMNIGLOT_HINT,
    )


@contextmanager
def _progress(invocation: Invocation, members: int) -> Iterator[Callable[[MemberProgress], None]]:
    """Show a progress bar per network on a terminal; elsewhere print a line per network and minute."""
    with invocation.progress() as progress:
        bars = [progress.add_task(f"member {member + 1}: reading images", total=None) for member in range(members)]
        noted = dict.fromkeys(range(members), time.monotonic())

        def report(state: MemberProgress) -> None:
            text = f"member {state.member + 1}: update {state.update} of {state.planned_updates}, loss {state.loss:.3f}"
            progress.update(bars[state.member], description=text, completed=state.update, total=state.planned_updates)
            now = time.monotonic()
            is_due = now - noted[state.member] >= NOTE_EVERY_S or state.update == state.planned_updates
            if is_due and not sys.stderr.isatty():
                noted[state.member] = now
                invocation.note(text)

        yield report


def _show_predictions(out: PlainConsole, predictions: list[dict[str, Any]]) -> None:
    table = new_table("image", "class", "probability", "next", right=("probability",))
    for prediction in predictions:
        ranked = sorted(prediction["probabilities"].items(), key=lambda item: -item[1])
        second, chance = ranked[1]
        table.add_row(
            prediction["image"],
            prediction["label"] or NOTHING,
            f"{prediction['probability']:.3f}",
            f"{second} {chance:.3f}",
        )
    out.print(table)


def _show_scores(out: PlainConsole, values: dict[str, Any]) -> None:
    table = new_table("run", "classes", "images", "errors", right=("classes", "images", "errors"))
    for run in values["runs"]:
        table.add_row(run["run"], str(run["ways"]), str(run["queries"]), str(run["errors"]))
    out.print(table)
    rate, error = 100 * values["error_rate"], 100 * values["standard_error"]
    out.print(f"{values['errors']} errors in {values['queries']} images: {rate:.2f}% ± {error:.2f}")


def _show_trained(out: PlainConsole, output: Path, values: dict[str, Any]) -> None:
    updates = " and ".join(str(count) for count in values["updates"])
    out.print(
        f"{output} ({short_size(values['size_bytes'])}) after {updates} updates on {values['device']}, "
        f"{short_duration(values['duration_s'])}"
    )
    out.print(f"sha256 {values['sha256']}")

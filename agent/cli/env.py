"""``learnd env``: adds families to practise, and lists, pauses, resumes and removes them."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from agent.cli.errors import CommandError
from agent.cli.family_declaration import declared_spec, trying
from agent.cli.family_options import FamilyOptions, with_family_options
from agent.cli.family_pages import admission_values, show_added, show_page
from agent.cli.invocation import NO_DATA, Invocation, command, find_family, group
from agent.cli.output import in_colour, styled
from agent.cli.reference_option import (
    ReferenceOption,
    parse_return,
    reference_text,
)
from agent.cli.status import families_table
from agent.reports.family_values import family_report, family_values
from memory.records import Family, FamilyState

if TYPE_CHECKING:
    from envs.admission import Admission
    from envs.family import FamilySpec
    from memory.store import Store

env_app = typer.Typer(help="Add, list, pause and remove families of tasks.", no_args_is_help=True)
group(env_app)

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The family's name.")]


@command(
    env_app,
    "add",
    examples=(
        "learnd env add CartPole-v1 --name poles --vary force_mag=5:15 --vary gravity=7:13",
        "learnd env add Acrobot-v1 --name changed --vary auto",
        "learnd env add FrozenLake-v1 --name lake --kwarg is_slippery=false --episodes 8",
        "learnd env add FrozenLake-v1 --name met_lakes --vary kwarg.desc=frozen_lake_map:4:0.8 --recurring 100",
        "learnd env add Pendulum-v1 --name swing --reference ppo:200000",
        "learnd env add ./my_env.py",
        "learnd env add my_envs:Maze --path ./src --name maze --python ./venv",
        "learnd env add ALE/Pong-v5 --preset atari",
        "learnd env add maze.toml",
        "learnd env add ./images --few-shot 5x1 --learner protonet",
        "learnd env add sinusoids --shots 5",
    ),
)
@with_family_options
def add_family(
    invocation: Invocation,
    *,
    entry: Annotated[
        str,
        typer.Argument(
            metavar="ENTRY",
            help="A Gymnasium id, FILE.py, FILE.py:Class, module:Class, a built-in family, a folder of CLASS/IMAGE, or "
            "a family file (FILE.toml).",
        ),
    ],
    name: Annotated[str | None, typer.Option(help="Name of the family; default: derived from ENTRY.")] = None,
    options: FamilyOptions,
    reference: ReferenceOption = None,
    learner: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Learner of a few-shot family; default: the setting `few_shot.learner` (images) or "
            "`few_shot.regression_learner` (sinusoids).",
        ),
    ] = None,
    check: Annotated[bool, typer.Option(help="Try the family first, and reject it if that fails.")] = True,
) -> None:
    """Add a family of tasks: a Gymnasium environment with variations, or few-shot tasks of images or sinusoids.

    The command first tries the family; an environment runs in its own worker process. A running daemon starts to
    practise the family without a restart. With --no-check, the family is added at once and the daemon tries it.
    """
    spec = declared_spec(invocation, entry=entry, name=name, options=options, reference=reference, learner=learner)
    _refuse_taken_name(invocation, spec.name)
    admission = _probe(invocation, spec) if check else None
    with invocation.writing(is_created=True) as store:
        family = _record(store, spec, admission)
    invocation.answer(
        {"family": family_values(family), "admission": admission_values(admission)},
        lambda out: show_added(out, family, admission, is_daemon_running=invocation.folder.holder_pid() is not None),
    )


@command(
    env_app,
    "list",
    examples=(
        "learnd env list",
        "learnd env list --json",
    ),
)
def list_families(
    invocation: Invocation,
    with_removed: Annotated[bool, typer.Option("--all", help="Include removed families.")] = False,
) -> None:
    """List the families with their states, counts and scores."""
    with invocation.reading_if_any() as store:
        reports = [] if store is None else store.family_reports(with_removed=with_removed)
    if store is None:
        invocation.answer({"families": []}, lambda out: out.print(NO_DATA))
        return
    invocation.answer(
        {"families": reports}, lambda out: out.print(families_table(reports) if reports else "no family yet")
    )


@command(
    env_app,
    "show",
    examples=("learnd env show cartpole",),
)
def show_family(invocation: Invocation, name: NameArgument) -> None:
    """Show one family: its declaration, variations, spaces, scores and last job runs."""
    with invocation.reading() as store:
        family = find_family(store, name, operation="showing family")
        values = family_report(store, family)
    invocation.answer(values, lambda out: show_page(out, family, values))


@command(
    env_app,
    "export",
    examples=("learnd env export cartpole > cartpole.toml",),
)
def export_family(invocation: Invocation, name: NameArgument) -> None:
    """Print a family as a family file, which `learnd env add FILE.toml` and the folder env.d take.

    The file has the declaration, without what was learned or measured.
    """
    from envs.family_file import family_file_text

    with invocation.reading() as store:
        spec = find_family(store, name, operation="exporting family").require_spec()
    text = family_file_text(spec)
    if invocation.is_json:
        invocation.answer({"family": name, "toml": text}, lambda _: None)
    else:
        invocation.out.file.write(text)


@command(
    env_app,
    "pause",
    examples=('learnd env pause pendulum --reason "needs the new simulator"',),
)
def pause_family(
    invocation: Invocation,
    name: NameArgument,
    reason: Annotated[str, typer.Option(help="Reason to record.")] = "paused by hand",
) -> None:
    """Pause a family. Its data is kept, and consolidation still protects its score."""
    _set_state(invocation, name, FamilyState.PAUSED, operation="pausing family", reason=reason)


@command(
    env_app,
    "resume",
    examples=("learnd env resume pendulum",),
)
def resume_family(invocation: Invocation, name: NameArgument) -> None:
    """Practise a paused or quarantined family again, or try a refused family again."""
    with invocation.writing() as store:
        family = find_family(store, name, operation="resuming family")
        family.require_spec()
        target = FamilyState.PENDING if family.spaces is None else FamilyState.ACTIVE
        if family.strikes:
            store.families.clear_strikes(name)
        if family.state is not target:
            family = store.families.set_state(name, target)
    _answer_state(invocation, family)


@command(
    env_app,
    "remove",
    examples=("learnd env remove acrobot --yes",),
)
def remove_family(
    invocation: Invocation,
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove the family without confirmation.")] = False,
) -> None:
    """Stop practising a family permanently. A new family may take its name, with totals and a curve of its own."""
    with invocation.writing() as store:
        family = find_family(store, name, operation="removing family")
        is_asked = not yes and not invocation.is_json and sys.stdin.isatty()
        if is_asked and not typer.confirm(f"Remove {name} with {family.totals.env_steps} steps of practice?", err=True):
            raise typer.Exit(1)
        family = store.families.set_state(name, FamilyState.REMOVED, reason="removed by hand")
    _answer_state(invocation, family)


@command(
    env_app,
    "reference",
    examples=("learnd env reference pendulum --return -300",),
)
def declare_reference(
    invocation: Invocation,
    name: NameArgument,
    reference: Annotated[
        str, typer.Option("--return", metavar="RETURN", help="Return of a whole trial that scores 1.")
    ],
) -> None:
    """Declare the reference of a family that has none, and give its held-out returns so far their scores.

    A reference is final. A measurement of it that runs or waits is not needed any more.
    """
    declared = parse_return(reference, option="--return")
    operation = "declaring the reference of"
    with invocation.writing() as store:
        family = find_family(store, name, operation=operation)
        if family.random_return is None:
            raise CommandError(
                operation=operation,
                subject=name,
                found=f"it is {family.state}, and the return of random actions is not known yet.",
                hint="Run the command again when the family has been admitted.",
            )
        if family.reference_return is None and declared <= family.random_return:
            raise CommandError(
                operation=operation,
                subject=name,
                found=f"{declared:g} is not above {family.random_return:g}, the return of random actions.",
                hint="Name a return that a good policy reaches in a whole trial.",
            )
        spec = replace(family.require_spec(), reference_return=declared, reference_source="declared")
        family = store.references.record(family, declared, spec=spec)
    invocation.answer(
        {"family": family_values(family)}, lambda out: out.print(f"{family.name}: {reference_text(family)}")
    )


def _refuse_taken_name(invocation: Invocation, name: str) -> None:
    with invocation.reading_if_any() as store:
        taken = set() if store is None else {family.name for family in store.families.all()}
    if name in taken:
        raise CommandError(
            operation="adding family",
            subject=name,
            found="a family of that name already exists.",
            hint="Choose another name with --name, or run "
            f"`learnd env remove {name}` first: the new family then has totals and a curve of its own.",
        )


def _probe(invocation: Invocation, spec: FamilySpec) -> Admission:
    """Try the family. An environment runs in a worker process, with the priority of the trainer's workers.

    Raises:
        EnvsError: the family cannot be practised; the error gives the reason.
    """
    from envs.admission import probe

    with trying(invocation, spec.name) as (worker, tell):
        return probe(spec, progress=tell, **worker)


def _record(store: Store, spec: FamilySpec, admission: Admission | None) -> Family:
    """Add the family to the store.

    A family that was tried becomes active at once, and its spec records the source of the reference return.
    """
    family = store.families.add(spec)
    if admission is None:
        return family
    return store.families.admit(
        spec.name,
        spaces=admission.spaces.to_json(),
        random_return=admission.random_return,
        reference_return=admission.reference_return,
        spec=replace(admission.spec, reference_source=admission.reference_source),
    )


def _set_state(invocation: Invocation, name: str, state: FamilyState, *, operation: str, reason: str) -> None:
    with invocation.writing() as store:
        family = find_family(store, name, operation=operation)
        if family.state is not state:
            family = store.families.set_state(name, state, reason=reason)
    _answer_state(invocation, family)


def _answer_state(invocation: Invocation, family: Family) -> None:
    invocation.answer(
        {"family": family_values(family)},
        lambda out: out.print(styled(f"{family.name} is ", in_colour(str(family.state)), " now")),
    )

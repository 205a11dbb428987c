"""``learnd doctor``: checks the installation and the store, and says how to fix what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from agent.cli.console import PlainConsole
from agent.cli.doctor_checks import CHECKS
from agent.cli.doctor_findings import CheckContext, Finding, Repair, Verdict, finding_values
from agent.cli.doctor_repairs import FIX, Fix, FixOutcome, fixed
from agent.cli.doctor_settings import unreadable_settings
from agent.cli.doctor_storage import RESTORE
from agent.cli.errors import CommandError
from agent.cli.invocation import Invocation, command
from agent.cli.output import STATE_STYLES, indented, styled
from agent.errors import SettingsError
from memory.errors import MemoryStoreError, StoreLostError
from memory.repair_hint import REPAIR_COMMAND

if TYPE_CHECKING:
    from agent.cli.doctor_bundle import WrittenBundle
    from memory.store import Store
    from memory.upkeep.repairing import RepairReport

SIGNS = {Verdict.OK: "✓", Verdict.WARN: "!", Verdict.FAIL: "✗"}


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    examples = (
        "learnd doctor",
        "learnd doctor --data-dir /var/lib/learnd --json",
        "learnd doctor --fix",
        "learnd doctor --repair",
        "learnd doctor --bundle learnd-support.tar.gz",
    )
    command(app, "doctor", examples=examples)(doctor)


def doctor(
    invocation: Invocation,
    *,
    is_fixing: Annotated[bool, typer.Option("--fix", help="Make the safe repairs, say each, and check again.")] = False,
    is_repairing: Annotated[
        bool,
        typer.Option("--repair", help="Repair a damaged store before the checks; learnd must be stopped."),
    ] = False,
    may_roll_back: Annotated[
        bool,
        typer.Option("--yes", help="With --repair: replace a lost live checkpoint by an older one."),
    ] = False,
    bundle: Annotated[
        Path | None,
        typer.Option("--bundle", metavar="FILE", help="Write a support bundle (.tar.gz), in which secrets are masked."),
    ] = None,
) -> None:
    """Check the installation, the settings and the store, and say how to fix each problem.

    Reads the whole store: every row, every episode, every parameter file. The exit status is 1 when a check fails.

    `--fix` makes the repairs that remove nothing which learnd or you need: owners and modes of files, missing folders,
    unfinished files, indexes. The others are listed with their commands.

    `--bundle` writes an archive for those who help: versions, settings, status, curves, the log and this report, with
    secrets masked. The exit status is then 0 when it was written.

    `--repair` deletes damaged trials, restores damaged files and rows from backups that have them intact, and rebuilds
    damaged indexes. It replaces a lost live checkpoint by an older one only with `--yes`.
    """
    settings_finding = _settings_finding(invocation)
    if bundle is not None:
        from agent.cli.doctor_bundle import check_bundle_file

        check_bundle_file(bundle)
    if may_roll_back and not is_repairing:
        raise CommandError(
            operation=invocation.name,
            subject="--yes",
            found="it needs --repair.",
            hint="Give both options, or neither.",
        )
    report = _repaired(invocation, may_roll_back=may_roll_back) if is_repairing else None
    findings = [settings_finding, *_all_findings(invocation)]
    fixes = _fixed(invocation, findings) if is_fixing else None
    if fixes:
        findings = [_settings_finding(invocation), *_all_findings(invocation)]
    worst = max((finding.verdict for finding in findings), key=list(Verdict).index)
    values: dict[str, Any] = {"verdict": worst, "checks": [finding_values(finding) for finding in findings]}
    values |= {} if fixes is None else {"fixes": fixes}
    values |= {} if report is None else {"repair": report}
    written = None if bundle is None else _bundled(invocation, bundle, values)
    values |= {} if written is None else {"bundle": written}

    def show(out: PlainConsole) -> None:
        _show(out, findings, fixes=fixes, report=report)
        if written is not None:
            from agent.cli.doctor_bundle import show_bundle

            show_bundle(out, written)

    invocation.answer(values, show)
    if worst is Verdict.FAIL and written is None:
        raise typer.Exit(1)


def _all_findings(invocation: Invocation) -> list[Finding]:
    """Open the store, make every check and return the findings."""
    findings: list[Finding] = []
    with invocation.progress() as progress, ExitStack() as opened:
        task = progress.add_task("checking", total=len(CHECKS))
        context = CheckContext(
            settings=invocation.settings,
            folder=invocation.folder,
            store=_opened_store(invocation, opened, findings),
            tell=lambda text: progress.update(task, description=text),
            service=invocation.system_service,
        )
        for name, check in CHECKS:
            progress.update(task, description=f"checking {name}")
            findings += _findings_of(name, check, context)
            progress.advance(task)
    return findings


def _bundled(invocation: Invocation, path: Path, report: dict[str, Any]) -> WrittenBundle:
    """Write a support bundle with the report."""
    from agent.cli.doctor_bundle import write_bundle

    with invocation.progress() as progress:
        progress.add_task("writing the bundle", total=None)
        return write_bundle(path, invocation, report)


def _fixed(invocation: Invocation, findings: list[Finding]) -> list[Fix]:
    """Make the safe repairs of some findings, and return a report of each."""
    with invocation.progress() as progress:
        task = progress.add_task("", total=None)
        return list(fixed(findings, tell=lambda text: progress.update(task, description=text)))


def _repaired(invocation: Invocation, *, may_roll_back: bool) -> RepairReport:
    """Repair the store, and return a report of the repairs."""
    from memory.upkeep.repairing import repair

    with invocation.progress() as progress:
        task = progress.add_task("repairing", total=None)
        return repair(
            invocation.folder,
            may_roll_back=may_roll_back,
            progress=lambda what, count: progress.update(task, description=f"checking {what}: {count}"),
        )


def _settings_finding(invocation: Invocation) -> Finding:
    """Check whether the settings are valid. If they are not, replace them by the defaults for the other checks."""
    try:
        file = invocation.settings.file
    except SettingsError as error:
        from agent.config.settings import Settings

        defaults = Settings()
        service = invocation.system_service
        data_dir = (invocation.data_dir or (service.data_dir if service else defaults.data_dir)).absolute()
        invocation.settings = defaults.model_copy(update={"data_dir": data_dir})
        found = f"{error.subject}: {error.found}"
        repair = Repair(what="show each wrong setting with its line", command="learnd config check")
        return Finding(check="settings", verdict=Verdict.FAIL, found=found, hint=error.hint, repair=repair)
    service = invocation.system_service
    if service is not None and (finding := unreadable_settings(service)) is not None:
        return finding
    owner = f" (of {service.unit})" if service is not None else ""
    found = f"{file or 'no file: variables and defaults'}{owner}"
    return Finding(check="settings", verdict=Verdict.OK, found=found)


def _opened_store(invocation: Invocation, opened: ExitStack, findings: list[Finding]) -> Store | None:
    """Return the store, which is closed when ``opened`` is closed.

    If the store is missing or cannot be opened, append a finding and return None.
    """
    try:
        store = opened.enter_context(invocation.reading_if_any(is_optional=True))
    except (MemoryStoreError, OSError) as error:
        found = error.found if isinstance(error, MemoryStoreError) else str(error.strerror)
        hint = (
            error.hint
            if isinstance(error, MemoryStoreError)
            else "Run this command as the user that the daemon runs as."
        )
        repair = RESTORE if isinstance(error, StoreLostError) else None
        findings.append(Finding(check="store", verdict=Verdict.FAIL, found=found, hint=hint, repair=repair))
        return None
    if store is None:
        found, hint = "there is no store yet", "learnd run creates it."
        if (elsewhere := invocation.no_store_error()) is not None:
            found, hint = elsewhere.found, elsewhere.hint
        findings.append(Finding(check="store", verdict=Verdict.WARN, found=found, hint=hint))
    return store


def _findings_of(name: str, check: Callable[[CheckContext], Iterator[Finding]], context: CheckContext) -> list[Finding]:
    """Return the findings of a check. If the check itself fails, that failure is a finding, and the others continue."""
    findings: list[Finding] = []
    try:
        findings.extend(check(context))
    except (MemoryStoreError, OSError) as error:
        found = error.found if isinstance(error, MemoryStoreError) else str(error)
        hint = error.hint if isinstance(error, MemoryStoreError) else ""
        findings.append(Finding(check=name, verdict=Verdict.FAIL, found=found, hint=hint))
    return findings


def _show_repair(out: PlainConsole, report: RepairReport) -> None:
    for action in report.actions:
        out.print(f"repaired: {action}", soft_wrap=True)
    if not report.actions:
        out.print("repaired: nothing")
    if report.needs_consent:
        text = f"not done without --yes: {report.needs_consent}. To do it, run: {REPAIR_COMMAND} --yes"
        out.print(text, soft_wrap=True)
    out.print()


def _show_fixes(out: PlainConsole, fixes: list[Fix]) -> None:
    for fix in fixes:
        told = f"{fix.what} ({fix.command})" if fix.command != FIX else fix.what
        failure = f": {indented(fix.detail)}" if fix.detail else ""
        label = "fixed" if fix.outcome is FixOutcome.DONE else "not fixed"
        out.print(f"{label}: {told}{failure}", soft_wrap=True)
    if not fixes:
        out.print("fixed: nothing")
    out.print()


def _show(out: PlainConsole, findings: list[Finding], *, fixes: list[Fix] | None, report: RepairReport | None) -> None:
    if report is not None:
        _show_repair(out, report)
    if fixes is not None:
        _show_fixes(out, fixes)
    for finding in findings:
        sign = (SIGNS[finding.verdict], STATE_STYLES[finding.verdict])
        out.print(styled(sign, " ", (finding.check, "bold"), f": {indented(finding.found)}"))
        for part, observed in finding.details.items():
            out.print(f"    {part}: {indented(observed)}", soft_wrap=True)
        if finding.hint:
            out.print(f"    {indented(finding.hint)}")
        repair = finding.repair
        if repair is not None and (repair.is_safe or repair.command not in finding.hint):
            command = f"{repair.command} ({FIX} does it)" if repair.is_safe else repair.command
            out.print(f"    repair: {FIX if repair.command == FIX else command}", soft_wrap=True)
    counts: dict[Any, int] = {verdict: sum(f.verdict is verdict for f in findings) for verdict in Verdict}
    out.print(f"\n{counts[Verdict.OK]} ok, {counts[Verdict.WARN]} warnings, {counts[Verdict.FAIL]} failed")

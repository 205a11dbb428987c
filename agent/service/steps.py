"""The steps of an installation or a removal: planned first, then run and reported one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from agent.errors import AgentError
from agent.service.errors import ServiceError


class Outcome(StrEnum):
    """The outcome of a step."""

    DONE = "done"
    UNCHANGED = "unchanged"
    """Nothing was to be done."""

    PLANNED = "planned"
    """It would be done without ``--dry-run``."""

    SKIPPED = "skipped"
    """It is left out, for the reason in its detail."""

    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Step:
    """A step of an installation or a removal.

    Attributes:
        action: what it does, in the imperative ("write the unit").
        subject: what it is done to (a file, a unit, a package).
        run: does it; None if nothing is to be done.
        skipped: why it is left out; empty if it is not.
        detail: more about it, such as the command.
    """

    action: str
    subject: str
    run: Callable[[], None] | None
    skipped: str = ""
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """A report of a step.

    Attributes:
        action: what it does, in the imperative.
        subject: what it is done to.
        outcome: the outcome of the step.
        detail: more about it, such as the command, or why it was left out.
    """

    action: str
    subject: str
    outcome: Outcome
    detail: str = ""

    def __str__(self) -> str:
        """Return the step as one line."""
        detail = f" ({self.detail})" if self.detail else ""
        return f"{self.action}: {self.subject}{detail}"


class StepError(ServiceError):
    """An error: a step failed.

    Args:
        error: the failure.
        reports: the steps until then; the last one is the failed one.
    """

    def __init__(self, error: AgentError, *, reports: Sequence[StepReport]) -> None:
        done = [f"{report.action} {report.subject}" for report in reports if report.outcome is Outcome.DONE]
        so_far = f"Done before: {'; '.join(done)}." if done else "Nothing was changed."
        again = "Then run the same command again: it goes on from there."
        hint = "\n".join(part for part in (error.hint, so_far, again) if part)
        self.reports = tuple(reports)
        super().__init__(operation=error.operation, subject=error.subject, found=error.found, hint=hint)


def run_steps(
    steps: Sequence[Step],
    *,
    is_dry: bool,
    begin: Callable[[Step], None] = lambda _step: None,
    tell: Callable[[StepReport], None] = lambda _report: None,
) -> list[StepReport]:
    """Run steps in order, and return a report of each.

    Args:
        steps: the steps.
        is_dry: run none of them.
        begin: called before a step is run.
        tell: called with the report of each step when it has ended.

    Raises:
        StepError: a step failed; the steps after it were not run.
    """
    reports: list[StepReport] = []
    for step in steps:
        outcome, error = Outcome.UNCHANGED, None
        if step.skipped:
            outcome = Outcome.SKIPPED
        elif step.run is not None:
            outcome = Outcome.PLANNED if is_dry else Outcome.DONE
            if not is_dry:
                begin(step)
                error = _error_of(step.run, step)
        outcome = Outcome.FAILED if error else outcome
        detail = step.skipped or step.detail
        reports.append(StepReport(action=step.action, subject=step.subject, outcome=outcome, detail=detail))
        tell(reports[-1])
        if error is not None:
            raise StepError(error, reports=reports) from error
    return reports


def _error_of(run: Callable[[], None], step: Step) -> ServiceError | None:
    """Run a step, and return its error; None if it succeeded."""
    try:
        run()
    except ServiceError as error:
        return error
    except OSError as error:
        hint = "Run the command as root (sudo)." if isinstance(error, PermissionError) else ""
        subject = str(error.filename or step.subject)
        return ServiceError(operation=step.action, subject=subject, found=f"{error.strerror or error}.", hint=hint)
    return None

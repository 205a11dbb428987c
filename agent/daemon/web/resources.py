"""The resources of /api/v1: the path, the parameters, the model and the reading of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum
from typing import Any

from agent.config.local_time import zone_name
from agent.config.settings import Settings
from agent.config.time_shares import time_shares
from agent.daemon.web import family_models, service_models
from agent.daemon.web.values import Values
from agent.errors import AgentError
from agent.reports.curve_values import curve_values, read_curves
from agent.reports.events import event_values
from agent.reports.family_curves import XAxis
from agent.reports.family_values import family_report
from agent.reports.memory_values import memory_values
from agent.reports.quarantines import quarantine_values
from agent.reports.schedule_values import read_schedule, schedule_values
from agent.reports.score_matrix import matrix_values, read_matrix
from agent.reports.status import status_values
from agent.reports.trends import trend_values
from agent.reports.version_values import version_values
from memory.records import CurveMetric, Family
from memory.store import Store

PREFIX = "/api/v1"


class UnknownFamilyError(AgentError):
    """An error: there is no family of the requested name."""


class ParameterError(AgentError):
    """An error: a request has a parameter that does not exist or is not valid."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A query parameter.

    Attributes:
        name: its name.
        default: its value if the request has none.
        description: its meaning.
        choices: the allowed values of a text; None for a number.
        most: the largest allowed number.
    """

    name: str
    default: Any
    description: str
    choices: type[StrEnum] | None = None
    most: int = 0

    def parse(self, text: str) -> Any:
        """Return the value of a parameter's text.

        Raises:
            ParameterError: the value is not allowed.
        """
        if self.choices is not None:
            values = [choice.value for choice in self.choices]
            if text in values:
                return self.choices(text)
            allowed = f"one of {', '.join(values)}"
        else:
            if text.isascii() and text.isdecimal() and len(text) < 10 and 0 < int(text) <= self.most:
                return int(text)
            allowed = f"a whole number from 1 to {self.most}"
        raise ParameterError(
            operation="reading the parameter", subject=self.name, found=f"{text[:60]!r}.", hint=f"Allowed: {allowed}."
        )


@dataclass(frozen=True, kw_only=True)
class Request:
    """The arguments of a reading.

    Attributes:
        values: the value of each parameter.
        settings: the settings of the service.
        status: the daemon's present status row.
        pid: the daemon's process id.
        now: the present time, in seconds since the epoch.
        name: the family in the path; empty if the path has none.
    """

    values: Mapping[str, Any]
    settings: Settings
    status: Mapping[str, Any]
    pid: int
    now: float
    name: str = ""


Reading = Callable[[Store, Request], Any]


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A resource that is read from the store.

    Attributes:
        path: its path below ``PREFIX``; ``{name}`` stands for a family.
        summary: its content in one sentence.
        model: its answer.
        command: the command that answers with the same values; empty if there is none.
        read: reads the answer as values that :func:`agent.output.json_values.to_json_values` converts.
        parameters: its query parameters.
    """

    path: str
    summary: str
    model: type[Values]
    read: Reading
    command: str = ""
    parameters: Sequence[Parameter] = field(default=())

    @property
    def has_family(self) -> bool:
        """Return whether the path names a family."""
        return "{name}" in self.path

    def parse(self, query: Mapping[str, str]) -> dict[str, Any]:
        """Return the value of every parameter.

        Raises:
            ParameterError: a parameter does not exist, or its value is not allowed.
        """
        known = {parameter.name for parameter in self.parameters}
        for name in query:
            if name not in known:
                raise ParameterError(
                    operation="reading the parameter",
                    subject=name[:60],
                    found="there is none of that name.",
                    hint=f"Known: {', '.join(sorted(known)) or 'none'}.",
                )
        return {p.name: p.parse(query[p.name]) if p.name in query else p.default for p in self.parameters}


def _family(store: Store, name: str) -> Family:
    families = {family.name: family for family in store.families.all()}
    if name not in families:
        near = get_close_matches(name, families, n=3, cutoff=0.5)
        hint = f"Did you mean {' or '.join(near)}?" if near else f"{PREFIX}/families lists those there are."
        raise UnknownFamilyError(
            operation="reading the family", subject=name, found="there is no family of that name.", hint=hint
        )
    return families[name]


def _read_status(store: Store, request: Request) -> Any:
    overview = store.overview.overview()
    # The present status replaces what the daemon last wrote, which is old while the store cannot be written.
    row = {**(overview["daemon"] or {}), **request.status}
    return status_values(overview, pid=request.pid, row=row, data_dir=str(store.folder.path))


def _read_families(store: Store, request: Request) -> Any:
    del request
    return {"families": store.family_reports()}


def _read_family(store: Store, request: Request) -> Any:
    return family_report(store, _family(store, request.name))


def _read_curves(store: Store, request: Request) -> Any:
    return curve_values(read_curves(store, _family(store, request.name), request.values["metric"]))


def _read_trends(store: Store, request: Request) -> Any:
    del request
    return trend_values(store)


def _read_versions(store: Store, request: Request) -> Any:
    newest = store.initializations.newest(request.values["limit"])
    return {"versions": [version_values(version) for version in newest]}


def _read_jobs(store: Store, request: Request) -> Any:
    settings = request.settings
    found = read_schedule(
        store,
        budgets=time_shares(settings),
        num_runs=request.values["runs"],
        now=request.now,
        time_zone=zone_name(settings.service.time_zone),
    )
    return schedule_values(found)


def _read_events(store: Store, request: Request) -> Any:
    return event_values(store, limit=request.values["limit"])


def _read_quarantines(store: Store, request: Request) -> Any:
    return quarantine_values(store, limit=request.values["limit"])


def _read_memory(store: Store, request: Request) -> Any:
    del request
    return memory_values(store.stats.memory_stats())


def _read_matrix(store: Store, request: Request) -> Any:
    return matrix_values(read_matrix(store, store.families.all(), axis=XAxis(request.values["over"])))


class MatrixAxis(StrEnum):
    """A horizontal axis that all families share."""

    LEARNER_STEPS = XAxis.LEARNER_STEPS.value
    TIME = XAxis.TIME.value


RESOURCES = (
    Resource(
        path="/status",
        summary="The present work of the service, and the state of every family.",
        model=service_models.Status,
        read=_read_status,
        command="learnd status",
    ),
    Resource(
        path="/families",
        summary="The families with their states, totals and newest scores.",
        model=family_models.Families,
        read=_read_families,
        command="learnd env list",
    ),
    Resource(
        path="/families/{name}",
        summary="One family: its declaration, spaces, scores and last job runs.",
        model=family_models.FamilyDetail,
        read=_read_family,
        command="learnd env show NAME",
    ),
    Resource(
        path="/families/{name}/curves",
        summary="A learning curve of one family, and its held-out return by episode of the trial.",
        model=family_models.Curves,
        read=_read_curves,
        command="learnd curves NAME (one element of `families`)",
        parameters=(
            Parameter(
                name="metric", default=CurveMetric.EVAL_SCORE, choices=CurveMetric, description="The metric to show."
            ),
        ),
    ),
    Resource(
        path="/trends",
        summary="The newest evaluations of every family, for small pictures.",
        model=family_models.Trends,
        read=_read_trends,
    ),
    Resource(
        path="/versions",
        summary="Published versions and rejected candidates with their gate scores and reasons, newest first.",
        model=service_models.Versions,
        read=_read_versions,
        command="learnd policy list --all",
        parameters=(Parameter(name="limit", default=50, most=1000, description="Largest number of versions."),),
    ),
    Resource(
        path="/jobs",
        summary="When jobs are due, what took the trainer's time in the last hour, and the last runs.",
        model=service_models.Jobs,
        read=_read_jobs,
        command="learnd schedule list",
        parameters=(Parameter(name="runs", default=10, most=1000, description="Number of last runs."),),
    ),
    Resource(
        path="/events",
        summary="The newest events: versions, rejections, rollbacks, families, strikes, jobs that went wrong.",
        model=service_models.Events,
        read=_read_events,
        parameters=(Parameter(name="limit", default=50, most=1000, description="Largest number of events."),),
    ),
    Resource(
        path="/quarantines",
        summary="The newest quarantines of families, also those that have ended, with the reason.",
        model=service_models.Quarantines,
        read=_read_quarantines,
        parameters=(Parameter(name="limit", default=20, most=200, description="Largest number of quarantines."),),
    ),
    Resource(
        path="/memory",
        summary="The episodic memory by family, and the space on the disk.",
        model=service_models.Memory,
        read=_read_memory,
        command="learnd memory stats",
    ),
    Resource(
        path="/matrix",
        summary="The scores of all families over a common axis, with forgetting and forward transfer.",
        model=family_models.Matrix,
        read=_read_matrix,
        command="learnd curves --matrix",
        parameters=(
            Parameter(
                name="over",
                default=MatrixAxis.LEARNER_STEPS,
                choices=MatrixAxis,
                description="The common axis: learner steps of the whole service, or time.",
            ),
        ),
    ),
)

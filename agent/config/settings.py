"""The settings of the service, read and validated once.

Sources, highest precedence first:

1. options of the command line
2. environment variables ``LEARND_*``, with two underscores after the section: ``LEARND_LEARNER__DEVICE``
3. the TOML file
4. the defaults below
"""

from __future__ import annotations

import dataclasses
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    PlainSerializer,
    PrivateAttr,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from agent.config.local_time import VARIABLE, ZONE_FORM, is_zone_known
from agent.config.paths import default_data_dir, settings_file
from agent.config.removed_settings import IgnoredValue, split_removed
from agent.config.triggers import Trigger, Window, parse_trigger, parse_window
from agent.config.units import DURATION_FORM, format_duration, format_size, parse_duration, parse_size
from agent.errors import SettingsError, SettingsProblem
from agent.learners.registry import LearnerEntry, canonical_name, few_shot_learners, public_names
from agent.learners.rl2.config import RL2Config
from envs.limits import WorkerLimits

PREFIX = "LEARND_"
_LISTEN = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[^:\s]*):(?P<port>\d{1,5})")
_HOST = re.compile(r"\*|[\w.-]+|\[?[0-9a-fA-F:.]*:[0-9a-fA-F:.]*\]?")
_HOST_FORM = 'a host without scheme and port such as "learnd.example.org", "10.0.0.5" or "::1", or "*" for any'
_LISTEN_FORM = 'HOST:PORT such as "127.0.0.1:9464" or "[::1]:9464" (port 0 takes any free one)'


def _checked_listen(text: str) -> str:
    match = _LISTEN.fullmatch(text.strip())
    if match is None or int(match["port"]) > 65535:
        raise ValueError(_LISTEN_FORM)
    return text.strip()


def _checked_host(text: str) -> str:
    if _HOST.fullmatch(text.strip()) is None:
        raise ValueError(_HOST_FORM)
    return text.strip()


def _positive(seconds: float) -> float:
    if seconds <= 0:
        raise ValueError(DURATION_FORM.replace("0 or more", "more than 0"))
    return seconds


def _listed(value: object) -> object:
    if isinstance(value, str):
        return [part for part in (piece.strip() for piece in value.split(",")) if part]
    return value


def _classification_learner(name: str) -> str:
    return _learner_among(name, [entry for entry in few_shot_learners() if entry.does_classification])


def _regression_learner(name: str) -> str:
    return _learner_among(name, [entry for entry in few_shot_learners() if entry.does_regression])


def _learner_among(name: str, entries: Sequence[LearnerEntry]) -> str:
    if canonical_name(name) not in {entry.name for entry in entries}:
        raise ValueError(f"one of the learners {', '.join(public_names(entries))}")
    return name


Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    AfterValidator(_positive),
    PlainSerializer(format_duration, when_used="json"),
]
Size = Annotated[int, BeforeValidator(parse_size), PlainSerializer(format_size, when_used="json")]
AllowedHost = Annotated[str, AfterValidator(_checked_host)]
JobTrigger = Annotated[InstanceOf[Trigger], BeforeValidator(parse_trigger), PlainSerializer(str)]
PractiseWindow = Annotated[InstanceOf[Window], BeforeValidator(parse_window), PlainSerializer(str)]
Count = Annotated[int, Field(ge=1)]
ClassificationLearner = Annotated[str, AfterValidator(_classification_learner)]
RegressionLearner = Annotated[str, AfterValidator(_regression_learner)]


class DeviceChoice(StrEnum):
    """A choice of the device for computations."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class ServiceSettings(_Section):
    """The listen address and the log of the service."""

    listen: Annotated[str, AfterValidator(_checked_listen)] = Field(
        default="127.0.0.1:9464",
        description="Listen address of /metrics, /healthz and /readyz; it has no access control.",
    )
    allowed_hosts: Annotated[tuple[AllowedHost, ...], BeforeValidator(_listed)] = Field(
        default=(),
        description="Values of the Host header that are accepted in addition to this machine's names and the host of"
        ' listen; "*" accepts any. If empty and the service listens on all interfaces, any is accepted.',
    )
    log_format: Literal["auto", "console", "json"] = Field(
        default="auto", description="Format of the log on stderr; auto: console on a terminal, else JSON lines."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Lowest level that is logged."
    )

    @property
    def host(self) -> str:
        """The host part of ``listen``, without brackets; empty means all interfaces."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        """The port part of ``listen``."""
        return int(self.listen.rpartition(":")[2])


class PractiseSettings(_Section):
    """Length of slices, and times of practice."""

    slice_s: Duration = Field(
        default=3.0,
        description="Length of a slice of practice, which is committed as a whole; a kill loses at most one slice.",
    )
    windows: Annotated[tuple[PractiseWindow, ...], BeforeValidator(_listed)] = Field(
        default=(),
        description='Local times in which practice is allowed, such as ["22:00-06:00"]; empty: always.',
    )


class JobsSettings(_Section):
    """The trigger of each job: an interval, "cron: M H DAY MONTH WEEKDAY" (local time), or "off"."""

    evaluate: JobTrigger = Field(
        default=Trigger(interval_s=90), description="Score every active family on held-out tasks."
    )
    consolidate: JobTrigger = Field(
        default=Trigger(interval_s=240),
        description="Make candidates, and publish the best if no family's score falls by more than the tolerance.",
    )
    checkpoint: JobTrigger = Field(
        default=Trigger(interval_s=600), description="Verify the trainer's checkpoint and keep it as a generation."
    )
    prune: JobTrigger = Field(
        default=Trigger(interval_s=3600), description="Remove data that exceeds the limits of the store."
    )
    backup: JobTrigger = Field(
        default=Trigger(interval_s=86400), description="Copy the store and its parameter files, and verify the copy."
    )


class LearnerSettings(_Section):
    """The trainer process and its supervision."""

    device: DeviceChoice = Field(
        default=DeviceChoice.AUTO, description="Device of the trainer; auto: cuda if available, else cpu."
    )
    threads: int = Field(default=0, ge=0, description="Number of torch threads; 0: all cores but one, at most 4.")
    seed: int = Field(default=0, ge=0, description="Seed of a new store; an existing one keeps its random states.")
    nice: int = Field(
        default=5, ge=0, le=19, description="Niceness of the trainer and its workers, added to the service's own."
    )
    start_timeout_s: Duration = Field(
        default=120.0, description="Time from the trainer's start until it is ready; then it is killed."
    )
    stall_timeout_s: Duration = Field(
        default=120.0, description="Time that a running job may take without progress; then the trainer is killed."
    )
    restart_first_s: Duration = Field(
        default=0.5, description="Back-off before the first restart; doubled with each further restart in a row."
    )
    restart_max_s: Duration = Field(default=60.0, description="Longest back-off between restarts.")
    crash_loop_restarts: Count = Field(
        default=5, description="Number of restarts within crash_loop_window_s that turns health red."
    )
    crash_loop_window_s: Duration = Field(default=300.0, description="Time in which restarts are counted.")


class MemorySettings(_Section):
    """Limits of the store."""

    trials_per_step: int = Field(default=8, ge=0, description="Trials stored in episodic memory per slice of practice.")
    max_size: Size = Field(
        default=4 * 2**30, description="Largest size of the store; the oldest episodes are removed first."
    )
    max_age: Duration = Field(default=90 * 86400.0, description="Age at which an episode is removed.")
    keep_checkpoints: Count = Field(default=5, description="Generations of the trainer's checkpoint that are kept.")
    keep_backups: Count = Field(default=3, description="Backups that are kept.")
    keep_rejected: int = Field(default=20, ge=0, description="Rejected candidates whose parameters are kept.")


class WorkersSettings(_Section):
    """Limits of environment workers, and the quarantine of families whose workers fail."""

    memory_limit: Size = Field(
        default=2**30,
        description="Memory limit of a worker with all processes that it started; a worker above it is stopped.",
    )
    step_timeout_s: Duration = Field(
        default=30.0, description="Time limit of one step or one reset of one copy of an environment."
    )
    start_timeout_s: Duration = Field(
        default=60.0, description="Time limit for a worker to start and make its first copy, and for each further copy."
    )
    max_strikes: Count = Field(default=5, description="Number of strikes in a row that quarantines a family.")
    quarantine_first_s: Duration = Field(
        default=60.0, description="Length of the first quarantine; doubled with each further one in a row."
    )
    quarantine_max_s: Duration = Field(default=3600.0, description="Longest quarantine.")

    def limits(self, *, nice: int = 0) -> WorkerLimits:
        """Return the limits of one worker; ``nice`` is added to the niceness of the process that starts it."""
        return WorkerLimits(
            memory_mib=max(1, self.memory_limit // 2**20),
            step_timeout_s=self.step_timeout_s,
            start_timeout_s=self.start_timeout_s,
            nice=nice,
        )


class EvaluationSettings(_Section):
    """Numbers of held-out trials or tasks per evaluation."""

    trials_tensor: Count = Field(default=512, description="Held-out trials per evaluation of a tensor family.")
    trials_gymnasium: Count = Field(default=32, description="Held-out trials per evaluation of a Gymnasium family.")
    trials_few_shot: Count = Field(default=64, description="Held-out tasks per evaluation of a few-shot family.")


class ConsolidationSettings(_Section):
    """The conditions for publishing a candidate."""

    tolerance: float = Field(
        default=0.05,
        ge=0,
        description="Largest allowed fall of a family's score below that of the published version, on the same tasks; "
        "without a reference, this share of what the published version earns above random actions.",
    )
    trials_tensor: Count = Field(default=1024, description="Held-out trials of a tensor family per candidate.")
    trials_gymnasium: Count = Field(default=64, description="Held-out trials of a Gymnasium family per candidate.")
    trials_few_shot: Count = Field(default=128, description="Held-out tasks of a few-shot family per candidate.")


class FewShotSettings(_Section):
    """The practice of few-shot families."""

    learner: ClassificationLearner = Field(
        default="protonet",
        description="Learner of a family of images that is added without one.",
    )
    regression_learner: RegressionLearner = Field(
        default="maml",
        description="Learner of a family of regressions that is added without one.",
    )
    planned_updates: Count = Field(
        default=20_000,
        description="Number of updates over which a few-shot learner's learning rate falls; it is constant after them.",
    )


class StreamSettings(_Section):
    """The families that are added automatically."""

    embedded_default: bool = Field(default=True, description="Add the embedded families to an empty data folder.")


class Settings(BaseSettings):
    """A value for every setting. ``Settings()`` has the defaults only; :func:`load_settings` reads all sources."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        enable_decoding=False,
        extra="forbid",
        frozen=True,
        validate_default=True,
    )

    data_dir: Path = Field(
        default_factory=default_data_dir,
        description="The data folder; default: $STATE_DIRECTORY, $XDG_STATE_HOME/learnd or ~/.local/state/learnd.",
    )
    service: ServiceSettings = ServiceSettings()
    practise: PractiseSettings = PractiseSettings()
    jobs: JobsSettings = JobsSettings()
    learner: LearnerSettings = LearnerSettings()
    rl2: dict[str, Any] = Field(
        default_factory=dict, description="Values for RL² by name (fields of agent.learners.rl2.config.RL2Config)."
    )
    memory: MemorySettings = MemorySettings()
    workers: WorkersSettings = WorkersSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    consolidation: ConsolidationSettings = ConsolidationSettings()
    few_shot: FewShotSettings = FewShotSettings()
    stream: StreamSettings = StreamSettings()

    _file: Path | None = PrivateAttr(None)
    _ignored: tuple[IgnoredValue, ...] = PrivateAttr(())

    @property
    def file(self) -> Path | None:
        """Path of the TOML file that was read; None if there was none."""
        return self._file

    @property
    def ignored(self) -> tuple[IgnoredValue, ...]:
        """The values of removed settings that were read. They have no effect."""
        return self._ignored

    @model_validator(mode="after")
    def _data_dir_is_absolute(self) -> Self:
        absolute = self.data_dir.expanduser().absolute()
        object.__setattr__(self, "data_dir", absolute)
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 -- the library's signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Return only the passed values: :func:`load_settings` merges the sources, and knows that of each value."""
        return (init_settings,)


@dataclass(frozen=True, kw_only=True)
class SettingRow:
    """A description of one setting for users.

    Attributes:
        key: dotted name.
        value: the value in its written form.
        default: the default in its written form.
        description: the effect of the setting.
    """

    key: str
    value: Any
    default: Any
    description: str


def load_settings(config: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """Load, merge and validate the settings from all sources.

    Args:
        config: the TOML file; None searches LEARND_CONFIG, $CONFIGURATION_DIRECTORY/learnd.toml and
            $XDG_CONFIG_HOME/learnd/learnd.toml.
        overrides: nested values from the command line, such as ``{"service": {"listen": "127.0.0.1:0"}}``.

    Raises:
        SettingsError: the file cannot be read, or values are invalid. The error lists every problem.
    """
    file = settings_file(config)
    layers = {
        "option": _without_none(overrides or {}),
        "variable": EnvSettingsSource(Settings, env_ignore_empty=True)(),
        str(file): _read_file(file) if file else {},
    }
    merged: dict[str, Any] = {}
    ignored: list[IgnoredValue] = []
    for layer, values in reversed(layers.items()):
        kept, of_layer = split_removed(values, source=partial(_source, layer))
        merged = _merged(merged, kept)
        ignored += of_layer
    subject = str(file) if file else "environment and options"
    problems = list(_unknown_variables())
    rl2: dict[str, Any] = {}
    try:
        rl2 = _checked_rl2(merged["rl2"] if isinstance(merged.get("rl2"), dict) else {})
    except SettingsError as error:
        problems += error.problems
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        problems += [_problem(details, layers) for details in error.errors()]
    if problems:
        raise SettingsError(subject=subject, problems=problems)
    settings = settings.model_copy(update={"rl2": rl2})
    settings._file, settings._ignored = file, tuple(ignored)  # noqa: SLF001 -- set once here, read as properties
    return settings


def check_time_zone() -> None:
    """Raise if ``TZ`` is not a time zone. Cron lines and windows of practice would otherwise silently be in UTC.

    Raises:
        SettingsError: ``TZ`` is not a time zone.
    """
    if not is_zone_known():
        value = repr(os.environ.get(VARIABLE))
        problem = SettingsProblem(key=VARIABLE, value=value, allowed=ZONE_FORM, source=f"variable {VARIABLE}")
        raise SettingsError(subject="environment and options", problems=[problem])


def describe_settings(settings: Settings) -> list[SettingRow]:
    """Return every setting with value, default and description, in the order of the sections."""
    defaults = Settings().model_dump(mode="json")
    values = settings.model_dump(mode="json")
    rows = []
    for key, field in setting_fields():
        section, _, name = key.rpartition(".")
        value = values[section][name] if section else values[name]
        default = defaults[section][name] if section else defaults[name]
        rows.append(SettingRow(key=key, value=value, default=default, description=field.description or ""))
    return rows


def setting_fields() -> Iterator[tuple[str, FieldInfo]]:
    """Yield the dotted key and the field of every setting."""
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, _Section):
            for key, inner in section.model_fields.items():
                yield f"{name}.{key}", inner
        else:
            yield name, field


def _read_file(file: Path) -> dict[str, Any]:
    try:
        if not file.is_file():
            raise FileNotFoundError(2, "there is no such file")
        return TomlConfigSettingsSource(Settings, toml_file=file)()
    except OSError as error:
        problem = SettingsProblem(
            key=str(file), value=error.strerror or str(error), allowed="a file that can be read", source=""
        )
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problem = SettingsProblem(key=str(file), value=str(error), allowed="a TOML file", source="")
    raise SettingsError(subject=str(file), problems=[problem])


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``values`` without options that were not given (None), also in nested sections."""
    kept = {key: _without_none(value) if isinstance(value, Mapping) else value for key, value in values.items()}
    return {key: value for key, value in kept.items() if value is not None and value != {}}


def _merged(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        inner = result.get(key)
        result[key] = _merged(inner, value) if isinstance(value, Mapping) and isinstance(inner, dict) else value
    return result


def _unknown_variables() -> Iterator[SettingsProblem]:
    """Yield a problem for each variable ``LEARND_SECTION__KEY`` whose section does not exist.

    Variables without two underscores are ignored, because they may belong to another program.
    """
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and "__" in name:
            section = name.removeprefix(PREFIX).split("__")[0].lower()
            if section not in Settings.model_fields:
                allowed = "one of the sections " + ", ".join(Settings.model_fields)
                yield SettingsProblem(key=section, value=os.environ[name], allowed=allowed, source=f"variable {name}")


def _problem(details: ErrorDetails, layers: Mapping[str, Mapping[str, Any]]) -> SettingsProblem:
    names = [str(part) for part in details["loc"]]
    key = ".".join(names)
    layer = next((name for name, values in layers.items() if _holds(values, names)), "")
    source = _source(layer, names)
    return SettingsProblem(key=key, value=repr(details["input"]), allowed=_allowed(details), source=source)


def _source(layer: str, names: Sequence[str]) -> str:
    """Return the source of a value in its written form. A variable is named."""
    return f"variable {PREFIX}{'__'.join(names[:2]).upper()}" if layer == "variable" else layer


def _holds(values: Mapping[str, Any], names: list[str]) -> bool:
    inner: Any = values
    for name in names[:2]:
        if not isinstance(inner, Mapping) or name not in inner:
            return False
        inner = inner[name]
    return True


def _allowed(details: ErrorDetails) -> str:
    """Return a description of the values that are allowed instead of the invalid one."""
    if details["type"] == "extra_forbidden":
        section = Settings.model_fields.get(str(details["loc"][0]))
        model = section.annotation if section else None
        if len(details["loc"]) > 1 and isinstance(model, type) and issubclass(model, _Section):
            return f"one of the keys {', '.join(model.model_fields)}"
        return f"one of the keys {', '.join(Settings.model_fields)}"
    text = details["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if text.startswith("a valid boolean"):
        return "true or false"
    if text.startswith(("a valid dictionary", "a valid dict")):
        return "a section with keys of its own"
    return text.split(", unable to parse")[0]


def _checked_rl2(overrides: dict[str, Any]) -> dict[str, Any]:
    """Return the values for RL² with the types of ``RL2Config``.

    Raises:
        SettingsError: a name or a value is invalid.
    """
    if not overrides:
        return {}
    names = [field.name for field in dataclasses.fields(RL2Config)]
    problems = [
        SettingsProblem(key=f"rl2.{name}", value=repr(value), allowed=f"one of the keys {', '.join(names)}", source="")
        for name, value in overrides.items()
        if name not in names
    ]
    if not problems:
        try:
            valid = TypeAdapter(RL2Config).validate_python(overrides)
            return {name: getattr(valid, name) for name in overrides}
        except ValidationError as error:
            for details in error.errors():
                key = ".".join(["rl2", *map(str, details["loc"])])
                value = repr(details["input"])
                problems.append(SettingsProblem(key=key, value=value, allowed=_allowed(details), source=""))
    raise SettingsError(subject="rl2", problems=problems)

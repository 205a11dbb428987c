"""The settings of the service, with their defaults and descriptions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PrivateAttr, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from agent.config.paths import default_data_dir
from agent.config.removed_settings import IgnoredValue
from agent.config.section import Section
from agent.config.triggers import Trigger
from agent.config.value_types import (
    AllowedHost,
    ClassificationLearner,
    Count,
    CountOrNone,
    Duration,
    Folder,
    JobTrigger,
    ListenAddress,
    PractiseWindows,
    RegressionLearner,
    StoreSize,
    TimeZone,
    UserPath,
    at_least,
    listed,
)
from agent.config.worker_settings import WorkersSettings
from envs.limits import WorkerLimits
from envs.user_paths import expanded

PREFIX = "LEARND_"


class DeviceChoice(StrEnum):
    """A choice of the device for computations."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


class ServiceSettings(Section):
    """The listen address and the log of the service."""

    listen: ListenAddress = Field(
        default="127.0.0.1:9464",
        description="Listen address of the page, /api/v1, /metrics, /healthz and /readyz.",
    )
    token_file: UserPath | None = Field(
        default=None,
        description="A file whose first line is a token that the page and /api/v1 ask for. Without one they are closed"
        " if the service listens on more than a loopback address.",
    )
    protect_metrics: bool = Field(default=False, description="Ask for the token at /metrics, /healthz and /readyz too.")
    allowed_hosts: Annotated[tuple[AllowedHost, ...], BeforeValidator(listed)] = Field(
        default=(),
        description="Values of the Host header that are accepted in addition to this machine's names and the host of"
        ' listen; "*" accepts any. If empty and the service listens on all interfaces, any is accepted.',
    )
    time_zone: TimeZone = Field(
        default="", description="Time zone of cron lines and windows of practice; empty: TZ, else /etc/localtime."
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


class PractiseSettings(Section):
    """Length of slices, and times of practice."""

    slice_s: Duration = Field(
        default=3.0,
        description="Length of a slice of practice, which is committed as a whole; a kill loses at most the slice"
        " under way, and rollouts in the background.",
    )
    wait_s: Duration = Field(
        default=3.0,
        description="Longest time that the trainer waits for a family's worker; a rollout, an evaluation or an"
        " admission that takes longer goes on in the background, while other families are practised.",
    )
    windows: PractiseWindows = Field(
        default=(),
        description='Local times in which practice is allowed, such as ["22:00-06:00"]; empty: always.',
    )
    rehearsal: bool = Field(
        default=True,
        description="Train on stored trials of other families during practice, so that they are not forgotten; let a"
        " policy of its own learn a new family first whose first practice with the shared policy fails.",
    )


class JobsSettings(Section):
    """The trigger of each job: an interval, "cron: M H DAY MONTH WEEKDAY" (local time), or "off"."""

    evaluate: JobTrigger = Field(
        default=Trigger(interval_s=90), description="Score every active family on held-out tasks."
    )
    consolidate: JobTrigger = Field(
        default=Trigger(interval_s=240),
        description="Make a candidate, and publish it if it gains something and no family's score falls by more than"
        " the tolerance.",
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
    verify: JobTrigger = Field(
        default=Trigger(interval_s=7 * 86400), description="Verify every backup again; damage turns health red."
    )


class LearnerSettings(Section):
    """The trainer process and its supervision."""

    device: DeviceChoice = Field(
        default=DeviceChoice.AUTO, description="Device of the trainer; auto: cuda if available, else cpu."
    )
    threads: int = Field(
        default=0, ge=0, le=1024, description="Number of torch threads; 0: all cores but one, at most 4."
    )
    seed: int = Field(
        default=0, ge=0, lt=2**63, description="Seed of a new store; an existing one keeps its random states."
    )
    nice: int = Field(
        default=5, ge=0, le=19, description="Niceness of the trainer and its workers, added to the service's own."
    )
    start_timeout_s: Annotated[Duration, at_least(5.0)] = Field(
        default=120.0, description="Time from the trainer's start until it is ready; then it is killed."
    )
    stall_timeout_s: Annotated[Duration, at_least(1.0)] = Field(
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


class MemorySettings(Section):
    """Limits of the store."""

    trials_per_step: CountOrNone = Field(
        default=8, description="Trials stored in episodic memory per slice of practice."
    )
    max_size: StoreSize = Field(
        default=4 * 2**30, description="Largest size of the store; the oldest episodes are removed first."
    )
    max_age: Annotated[Duration, at_least(3600.0)] = Field(
        default=90 * 86400.0, description="Age at which an episode is removed."
    )
    keep_checkpoints: Count = Field(default=5, description="Generations of the trainer's checkpoint that are kept.")
    keep_backups: Count = Field(default=3, description="Backups that are kept.")
    backup_command: str = Field(
        default="",
        description="Shell command that is run after each backup, such as a copy to another host, with the backup's"
        " folder in $BACKUP_PATH; if it fails, the backup job has failed.",
    )
    keep_rejected: CountOrNone = Field(default=20, description="Rejected candidates whose parameters are kept.")


SHARE_DESCRIPTION = (
    "Largest share of the trainer's time for {}; a due one waits until the others have had theirs. It runs at any time"
    " if nothing else can."
)


class EvaluationSettings(Section):
    """Numbers of held-out trials or tasks per evaluation, and the evaluation of paused families."""

    share: float = Field(default=0.2, gt=0, le=1, description=SHARE_DESCRIPTION.format("evaluations"))

    trials_tensor: Count = Field(default=512, description="Held-out trials per evaluation of a tensor family.")
    trials_gymnasium: Count = Field(default=32, description="Held-out trials per evaluation of a Gymnasium family.")
    max_s: Duration = Field(
        default=10.0,
        description="Time of an evaluation of one Gymnasium family; at its usual speed a slow one is scored on fewer"
        " trials, at least 4.",
    )
    trials_few_shot: Count = Field(default=64, description="Held-out tasks per evaluation of a few-shot family.")
    paused_every: JobTrigger = Field(
        default=Trigger(interval_s=3600),
        description="When the evaluate job also scores a paused family, to measure what is forgotten: this long after"
        " its last evaluation, and once after its last practice; written like the triggers of jobs.",
    )


class ConsolidationSettings(Section):
    """The conditions for publishing a candidate."""

    share: float = Field(default=0.2, gt=0, le=1, description=SHARE_DESCRIPTION.format("consolidations"))

    tolerance: float = Field(
        default=0.05,
        ge=0,
        allow_inf_nan=False,
        description="Largest allowed fall of a family's score below that of the published version, on the same tasks; "
        "without a reference, this share of what the published version earns above random actions.",
    )
    trials_tensor: Count = Field(default=1024, description="Held-out trials of a tensor family per candidate.")
    trials_gymnasium: Count = Field(default=64, description="Held-out trials of a Gymnasium family per candidate.")
    max_s: Duration = Field(
        default=30.0,
        description="Time of scoring one Gymnasium family with one candidate; at its usual speed a slow one is scored"
        " on fewer trials, at least 4.",
    )
    trials_few_shot: Count = Field(default=128, description="Held-out tasks of a few-shot family per candidate.")


class FewShotSettings(Section):
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


class ReferenceSettings(Section):
    """The measurement of reference returns, which score 1, of families that have none."""

    default: Literal["ppo", "none"] = Field(
        default="ppo",
        description="What `env add` does without --reference if no reward threshold is registered: ppo measures the"
        " reference with a PPO agent in the background, none leaves the family without scores.",
    )
    steps: Count = Field(default=100_000, description="Environment steps of training for a measured reference.")
    nice: int = Field(
        default=19,
        ge=0,
        le=19,
        description="Niceness of the measuring process and its worker, added to the service's own.",
    )


class StreamSettings(Section):
    """The families that are added automatically."""

    embedded_default: bool = Field(default=True, description="Add the embedded families to an empty data folder.")
    folder: Folder | None = Field(
        default=None,
        description="A folder of family files (TOML) that is watched in addition to env.d in the data folder.",
    )


class Settings(BaseSettings):
    """A value for every setting.

    ``Settings()`` has the defaults only; :func:`agent.config.loading.load_settings` reads all sources.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        enable_decoding=False,
        extra="forbid",
        frozen=True,
        validate_default=True,
    )

    data_dir: Folder = Field(
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
    reference: ReferenceSettings = ReferenceSettings()
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

    def worker_limits(self, *, nice: int = WorkerLimits.nice) -> WorkerLimits:
        """Return the limits of one worker, which may not reach the data folder."""
        return replace(self.workers.limits(nice=nice), hidden=(str(self.data_dir),))

    @model_validator(mode="after")
    def _data_dir_is_absolute(self) -> Self:
        absolute = expanded(self.data_dir).absolute()
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
        """Return only the passed values: ``load_settings`` merges the sources, and knows that of each value."""
        return (init_settings,)


def setting_fields() -> Iterator[tuple[str, FieldInfo]]:
    """Yield the dotted key and the field of every setting."""
    for name, field in Settings.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            for key, inner in section.model_fields.items():
                yield f"{name}.{key}", inner
        else:
            yield name, field

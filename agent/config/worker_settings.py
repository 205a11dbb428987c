"""The settings of the section ``workers``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from agent.config.section import Section
from agent.config.value_types import Count, Duration, Size, UserPath, WorkerMemory, at_least, listed
from envs.limits import WorkerLimits
from envs.user_paths import expanded


class WorkersSettings(Section):
    """Limits of environment workers, and the quarantine of families whose workers fail."""

    memory_limit: WorkerMemory = Field(
        default=WorkerLimits.memory_mib * 2**20,
        description="Memory limit of a worker with all processes that it started; a worker above it is stopped.",
    )
    step_timeout_s: Annotated[Duration, at_least(0.1)] = Field(
        default=WorkerLimits.step_timeout_s,
        description="Time limit of one step or one reset of one copy of an environment; once its usual speed is known,"
        " the limit follows that.",
    )
    start_timeout_s: Annotated[Duration, at_least(1.0)] = Field(
        default=WorkerLimits.start_timeout_s,
        description="Time limit for a worker to start and make its first copy, and for each further copy.",
    )
    max_strikes: Count = Field(default=5, description="Number of strikes in a row that quarantines a family.")
    quarantine_first_s: Duration = Field(
        default=60.0, description="Length of the first quarantine; doubled with each further one in a row."
    )
    quarantine_max_s: Duration = Field(default=3600.0, description="Longest quarantine.")
    isolation: Literal["auto", "off"] = Field(
        default="auto",
        description='"auto": the kernel keeps workers from the data folder, from writing outside of their own folder,'
        ' and from the network, as far as it can; learnd doctor says how far. "off": it does not.',
    )
    writable: Annotated[tuple[UserPath, ...], BeforeValidator(listed)] = Field(
        default=(),
        description="Folders that environments may write to, besides their own; for example a cache that they share.",
    )
    max_processes: Count = Field(
        default=WorkerLimits.max_processes,
        description="Number of processes that a worker and its descendants may be; a worker with more is stopped.",
    )
    processes: Count = Field(
        default=WorkerLimits.num_processes,
        description="Number of worker processes of one family if a process can hold only some of its copies (env add"
        " --copies); 1 for a simulator that can run only once on this machine.",
    )
    disk_limit: Size = Field(
        default=WorkerLimits.disk_mib * 2**20,
        description="Largest size of all files in a worker's own folder; a worker above it is stopped.",
    )
    max_cores: int = Field(
        default=WorkerLimits.num_cores,
        ge=0,
        description="Number of cores that a worker may keep busy; one that takes more is moved to so many cores, at the"
        " lowest priority. 0: half of the cores, at least one.",
    )

    def limits(self, *, nice: int = WorkerLimits.nice) -> WorkerLimits:
        """Return the limits of one worker; ``nice`` is added to the niceness of the process that starts it."""
        return WorkerLimits(
            memory_mib=self.memory_limit // 2**20,
            step_timeout_s=self.step_timeout_s,
            start_timeout_s=self.start_timeout_s,
            nice=nice,
            max_processes=self.max_processes,
            num_processes=self.processes,
            disk_mib=max(1, self.disk_limit // 2**20),
            num_cores=self.max_cores,
            is_isolated=self.isolation != "off",
            writable=tuple(str(expanded(folder).absolute()) for folder in self.writable),
        )

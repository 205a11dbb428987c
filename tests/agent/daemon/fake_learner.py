"""A fake trainer: it follows the protocol of the channel and commits totals, points and families, without learning.

Values of ``--behaviour``:

- ``good``: run every job.
- ``crash``: exit with status 7 before it is ready.
- ``deaf``: never send a ready message.
- ``hang``: make no progress in the first practise job.
- ``stubborn``: ignore the stop message.
- ``die_in:NAME``: kill itself in any job of that family.
- ``fail``: report every practise job as failed, with an error.
- ``struck``: report every practise job as failed in the way of a family's fault: with a finding but no error.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from memory.folder import DataFolder
from memory.records import CurveMetric, CurvePoint, FamilyState, FamilyTotals, LearnerStep
from memory.store import Store

MEASURED = (CurveMetric.EVAL_SCORE, CurveMetric.EVAL_RETURN)


class FakeLearner:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.behaviour: list[str] = arguments.behaviour.split(":")
        self.slice_s: float = arguments.slice_s
        self.channel = socket.socket(fileno=arguments.channel_fd)
        self.lines = self.channel.makefile("rb")
        self.folder = DataFolder(arguments.data_dir)

    def run(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if self.behaviour[0] == "crash":
            sys.stderr.write("no such device: flux capacitor\n")
            sys.exit(7)
        while self.behaviour[0] == "deaf":
            time.sleep(60)
        with self.folder.hold("learner"), Store.open(self.folder, must_exist=True) as store:
            self.send({"type": "ready", "pid": os.getpid(), "device": "fake", "learner_steps": 0})
            for line in self.lines:
                message = json.loads(line)
                if message["type"] == "stop":
                    while self.behaviour[0] == "stubborn":
                        time.sleep(60)
                    return
                if message["type"] == "job":
                    self.do(store, message)

    def send(self, message: dict[str, Any]) -> None:
        self.channel.sendall(json.dumps(message).encode() + b"\n")

    def do(self, store: Store, job: dict[str, Any]) -> None:
        if self.behaviour[0] == "die_in" and self.behaviour[1] == job["family"]:
            os.kill(os.getpid(), signal.SIGKILL)
        detail: dict[str, Any] = {}
        outcome, error = "succeeded", ""
        if job["kind"] == "admit":
            reference = None if store.families.get(job["family"]).require_spec().reference_steps else 1.0
            store.families.admit(job["family"], spaces={}, random_return=0.0, reference_return=reference)
        elif job["kind"] == "practise":
            outcome, error = self.practise(store, job)
        elif job["kind"] == "evaluate":
            for family in store.families.all():
                if family.state is FamilyState.ACTIVE:
                    measured = MEASURED if family.has_scale else (CurveMetric.EVAL_RETURN,)
                    points = [CurvePoint(metric=metric, value=0.5) for metric in measured]
                    store.curves.commit_evaluation(family.name, points)
        if self.behaviour[0] == "struck" and error:
            detail, error = {"fault": "raised", "strikes": 1, "found": f"found: {error}"}, ""
        self.send({"type": "finished", "run_id": job["run_id"], "outcome": outcome, "detail": detail, "error": error})

    def practise(self, store: Store, job: dict[str, Any]) -> tuple[str, str]:
        began = time.time()
        while self.behaviour[0] == "hang":
            time.sleep(60)
        if self.behaviour[0] in {"fail", "struck"}:
            return "failed", "the dog ate it"
        units = 0
        while time.time() - began < self.slice_s:
            units += 1
            self.send({"type": "progress", "run_id": job["run_id"], "phase": "rollout", "units": units})
            time.sleep(min(0.05, self.slice_s))
        step = LearnerStep(
            family=job["family"],
            practised=FamilyTotals(env_steps=100, episodes=10, trials=5, meta_updates=1),
            trials=(),
            points=(
                CurvePoint(metric=CurveMetric.TRIAL_RETURN, value=1.5),
                CurvePoint(metric=CurveMetric.EPISODE_RETURN, label="0", value=0.5),
                CurvePoint(metric=CurveMetric.LOSS, label="policy", value=0.1),
            ),
            started_at=began,
            finished_at=time.time(),
        )
        store.learner_steps.commit(step, {"weight": np.zeros(4, np.float32)}, {})
        return "succeeded", ""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--channel-fd", type=int, required=True)
    parser.add_argument("--behaviour", default="good")
    parser.add_argument("--slice-s", type=float, default=0.1)
    FakeLearner(parser.parse_args()).run()


if __name__ == "__main__":
    main()

"""A replacement for a trainer in a separate process. It commits, and prints a line after each acknowledgement.

Run it as ``python -m tests.memory.writer DATA_DIR FAMILY [COUNT]``. Each line on stdout is an acknowledgement:
``step N`` after a learner step, ``version N`` after a publication, ``request N`` after a request. If it is the only
writer, a trial of step N takes the slot (N - 1) mod ``NUM_SLOTS`` of its family's reservoir.
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from memory.errors import ParentChangedError
from memory.folder import DataFolder
from memory.records import NUM_SLOTS
from memory.store import Store
from tests.memory.making import add_active_family, make_rehearsal_step, make_tensors, publish_next


def main() -> None:
    path, family = sys.argv[1:3]
    count = int(sys.argv[3]) if len(sys.argv) > 3 else None
    with Store.open(DataFolder(Path(path))) as store:
        if family not in {known.name for known in store.families.all()}:
            add_active_family(store, family)
        say("ready")
        for number in itertools.count() if count is None else range(count):
            checkpoint = store.checkpoints.live()
            begun = 0 if checkpoint is None else checkpoint.meta["steps"]
            step = make_rehearsal_step(family, slots=(begun % NUM_SLOTS, None), seed=number % 7)
            committed = store.learner_steps.commit(step, make_tensors(begun + 1, size=4096), {"steps": begun + 1})
            say(f"step {committed.learner_steps}")
            if number % 5 == 4:
                try:
                    say(f"version {publish_next(store, fill=begun)}")
                except ParentChangedError:
                    say("beaten")
            if number % 5 == 2:
                say(f"request {store.requests.add('nudge', {'number': number})}")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()

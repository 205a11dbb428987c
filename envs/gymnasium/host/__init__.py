"""The program that a worker runs: B plain Gymnasium environments, stepped on request.

It is self-contained (standard library, numpy, gymnasium), so that any interpreter with those two packages can run it by
its path, and a user's own packages called ``agent``, ``envs`` or ``memory`` do not collide with learnd's. For the same
reason its modules import each other by relative imports only (:mod:`envs.gymnasium.host.__main__`).

Requests arrive through a pipe: a line of JSON for rare requests (configure, open, begin, check), the byte ``s`` for a
step. The inputs and results of a step are arrays in shared memory:
action [B, n], allowed [B, C] (which choices the next action may take), active [B], observation [B, D],
final_observation [B, D], reward [B], terminated [B], truncated [B], and progress [3], which tells which copy of the
environment is at work (:class:`.progress.Progress`).

``supervisor.py`` starts this program and ends the processes that it leaves behind.

When an episode ends in a step, the same step resets the environment and stores the last observation separately.
"""

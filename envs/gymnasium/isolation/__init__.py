"""The isolation of a worker: what its process may use and reach, enforced by the kernel.

The supervisor of a worker loads this folder by its path, in the family's interpreter, so it needs the standard library
only. :func:`.confinement.confine` applies everything to the calling process; the process cannot undo it.
"""

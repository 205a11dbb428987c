"""The store: trials, learner steps, initializations, jobs and curves. This is the only package with SQL."""

"""What is remembered: trials, learner steps, initializations, jobs and curves; the only package with SQL."""

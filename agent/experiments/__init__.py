"""Train and compare learners without a daemon."""

"""The service: daemon, trainer, learners, policies, metrics and command line."""

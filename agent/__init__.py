"""The service: control process, learner process, learners, consolidation, metrics and command line."""

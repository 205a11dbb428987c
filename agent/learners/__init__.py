"""The few-shot meta-learners, one file each, behind one protocol."""

"""The in-trial memory: a record of the current trial that the policy reads at each step."""

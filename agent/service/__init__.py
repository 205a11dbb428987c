"""The installation of learnd as a service of systemd: its unit, virtual environment and settings file, and its state.

The package needs the standard library only, so that ``python3 -m agent.service`` installs learnd from its source.
"""

"""learnd under a systemd that was booted for the test: `make systemd`."""

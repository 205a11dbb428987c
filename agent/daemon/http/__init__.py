"""The HTTP server of the daemon: connections, the check of hosts, and answers."""

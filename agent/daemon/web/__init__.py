"""The page and the HTTP interface /api/v1 of the daemon."""

"""Reports for users: status, recognised families, scores of versions, plots."""

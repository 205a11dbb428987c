"""Few-shot families: supervised tasks of a support set and a query set."""

"""Output for users: encodings, text from other sources, and files that users name."""

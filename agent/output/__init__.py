"""Text and files that learnd writes for users: encodings, foreign text, files that users name."""

"""Settings, their units and triggers, and the default paths."""

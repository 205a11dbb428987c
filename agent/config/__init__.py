"""Settings, their units and triggers, and default paths."""

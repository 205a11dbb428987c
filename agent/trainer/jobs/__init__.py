"""The jobs of the trainer, one module each."""

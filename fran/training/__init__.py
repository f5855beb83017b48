"""Training: settings, the Lightning module, checkpoints and `fit`."""

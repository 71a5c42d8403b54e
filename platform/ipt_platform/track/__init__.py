"""Trackers: what a run reports, told to TensorBoard and MLflow."""

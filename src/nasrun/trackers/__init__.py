"""Trackers: TensorBoard, MLflow and Weights & Biases show a run while it is at work."""

"""Networks: their layers, checkpoints, training, predictions and metrics."""

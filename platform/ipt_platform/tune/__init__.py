"""Where the task biases belong and how large they must be: sensitivity, rank energy, interference and search."""

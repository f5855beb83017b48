"""From preprocessed case files to batches of crops."""

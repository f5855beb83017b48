"""Segmentation losses: pure functions and thin modules."""

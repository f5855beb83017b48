"""Segmentation metrics on label maps: pure functions."""

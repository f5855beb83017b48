"""Scores of predicted label maps against references."""

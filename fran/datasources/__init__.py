"""Folders of raw volumes and label maps: names, pairs, checks and foreground statistics."""

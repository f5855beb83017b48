"""Searches over configurations: what is drawn, and from where."""

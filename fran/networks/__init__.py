"""Building networks from plain specifications, and fran's own network factories."""

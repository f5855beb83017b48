"""Raw cases to content-addressed case files of one spacing."""

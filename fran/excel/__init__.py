"""The old program's Excel workbooks: read into configuration files, and plans written back as a table."""

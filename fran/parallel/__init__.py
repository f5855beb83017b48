"""One way to map a function over jobs: in local processes, or on a Ray cluster."""

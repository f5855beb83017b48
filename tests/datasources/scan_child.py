"""A process that scans, to be killed."""

from __future__ import annotations

import sys

from fran.datasources.datasource import Datasource

if __name__ == "__main__":
    folder, store, workers = sys.argv[1:]
    Datasource(folder, modality="CT").scan(store, num_workers=int(workers))

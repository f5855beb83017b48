"""Reading and writing files: volumes, case files, manifests, checkpoints."""

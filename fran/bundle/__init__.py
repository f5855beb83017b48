"""Models to hand on: a folder or zip that predicts without the project, in the layout of a MONAI Bundle."""

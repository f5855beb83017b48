"""From checkpoints and images to label maps on the images' own grids."""

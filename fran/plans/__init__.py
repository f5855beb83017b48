"""Plans: what the data become, how a network trains on them."""

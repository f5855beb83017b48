"""Normalisation and augmentation of batches, on the device the batch is on."""

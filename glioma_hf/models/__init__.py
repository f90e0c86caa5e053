"""Segmenters: an image in, `Instances` out."""

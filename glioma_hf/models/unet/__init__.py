"""A U-Net over any encoder that gives a pyramid of maps: which pixels are cells (Computer Optics 2025, CO-1609)."""

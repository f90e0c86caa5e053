"""A heat map of cell centres, and for each centre a mask network of its own: masks that may overlap."""

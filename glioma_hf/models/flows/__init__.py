"""Flows to cells' middles and the chance of a cell, made cells by Cellpose's dynamics: label maps, without overlap."""

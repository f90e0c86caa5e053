"""Synthetic phase-contrast scenes, and archives of them in the Glioma C6 layout."""

"""Models x data x metrics: the main job, tables, reports."""

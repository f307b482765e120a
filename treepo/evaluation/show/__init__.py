"""What a reader sees of a run: tables, plots, pages, the console."""

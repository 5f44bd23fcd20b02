"""Front doors: what turns into the rows of a workflow."""

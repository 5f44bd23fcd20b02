"""Secrets that are planted wherever a value can stand, and a reader of every surface that looks for them."""

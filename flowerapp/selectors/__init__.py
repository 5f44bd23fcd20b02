"""Reads that admin, API, command line and console share: each fact is computed here once."""

"""Reads that admin, API and command line share: each fact is computed here once."""

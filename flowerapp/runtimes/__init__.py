"""Runtimes: each runs the program of an attempt outside the process that claimed the task."""

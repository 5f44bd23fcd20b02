"""A Django app for the tests: programs that leave rows behind, so that starts can be counted."""

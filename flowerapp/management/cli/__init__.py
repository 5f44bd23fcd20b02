"""What stands behind ``manage.py flow``."""

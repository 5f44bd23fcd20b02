"""What ``manage.py standalone`` is made of."""

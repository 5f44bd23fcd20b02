#!/usr/bin/env python
"""The Django command line of the reference project."""

import os
import sys


def main() -> None:
    """Run the command in ``sys.argv``."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()

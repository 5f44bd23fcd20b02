"""What the stack of ``docker-compose.yml`` has beyond an ordinary host.

Two workflows and an admin user are made, an echo page is served to the workflow ``example``, and callers on the machine
that runs the containers may register and read without a login. ``project.wsgi`` and ``project.settings`` know nothing
of it.
"""

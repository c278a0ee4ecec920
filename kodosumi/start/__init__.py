"""`koco start` and the processes it consists of: ``stack.py`` is the parent, ``roles.py`` are its children."""

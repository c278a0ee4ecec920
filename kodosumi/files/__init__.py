"""The files of runs: a family of stores (``base.py``), and names from outside made safe (``paths.py``)."""

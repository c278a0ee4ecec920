"""A module of an author that cannot be imported."""

raise RuntimeError("this module cannot be imported")

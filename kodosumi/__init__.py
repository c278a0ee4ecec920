"""kodosumi: a runtime for agentic services. Authors import from :mod:`kodosumi.core`."""

__version__ = "2.0.0"

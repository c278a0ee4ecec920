"""The panel: the only door to flows, executions and their results. ``app.create_app`` makes it."""

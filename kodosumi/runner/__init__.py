"""The process that runs user code, and the pool of such processes."""

"""The panel's files API, ``/files``: uploads in progress, and the files of executions."""

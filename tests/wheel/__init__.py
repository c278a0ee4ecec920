"""Tests of the installed wheel with the newest requirements that it admits: `make test LATEST=1`."""

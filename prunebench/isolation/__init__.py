"""Calls of plugins' code in child processes, and the end of every process that it started there."""

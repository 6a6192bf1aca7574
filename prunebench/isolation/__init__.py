"""Plugins' code in processes of its own, and the end of all that it started there."""

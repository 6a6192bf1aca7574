"""What a plugin subclasses or is passed: components, stages, contexts, hooks; and the values that travel."""

__version__ = "0.1.0"

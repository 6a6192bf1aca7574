"""The interface of plugins: components, stages, contexts, hooks, and the values that are passed to them."""

__version__ = "0.2.0"

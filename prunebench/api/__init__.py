"""What a plugin subclasses or is handed: components, stages, contexts, hooks, and the values that travel."""

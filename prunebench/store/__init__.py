"""The content-addressed store: states, checkpoints, locks, garbage collection, transfer."""

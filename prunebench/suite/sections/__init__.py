"""The parts of a suite whose keys depend on each other: objectives, runtimes, pipelines, and what entries add."""

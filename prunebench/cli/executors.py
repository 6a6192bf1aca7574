"""`prunebench executors`."""

from prunebench.cli.listings import listing

command = listing("executor", "List the executors, or describe one.")

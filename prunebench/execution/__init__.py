"""Running what a plan lacks: the scheduler, the worker, and what each stage does to a state."""

from prunebench.execution.processes.forking import end_server, start_server, start_template
from prunebench.execution.processes.forkserver import Messages

__all__ = ["Messages", "end_server", "start_server", "start_template"]

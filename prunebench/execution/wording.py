"""What a job does, in a few words."""

from __future__ import annotations

from prunebench.api.stages import Prune, Rewind, Train
from prunebench.plan.planning import Node


def described(node: Node) -> str:
    """A stage in a few words."""
    stage, by = node.stage, getattr(node.stage, "by", None)
    text = type(stage).__name__.lower()
    if isinstance(stage, Train):
        text = f"train from step {node.start} to {node.stop}"
    elif isinstance(stage, Prune):
        text = f"prune to density {stage.density:.4g}"
    elif isinstance(stage, Rewind):
        text = f"rewind to step {node.stop}"
    return f"{text} by {by.name}" if by else text

"""`ticket_of` of an entry of the methods: the task of the suite whose tickets it trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from prunebench.api.tasks import Entry, Task, TicketSource
from prunebench.messages.suggestions import near, shown
from prunebench.suite.nodes import Node, SuiteErrors

OTHERS = ("tune", "distillation")
"""Keys of an entry that a ticket of another task excludes."""
MASKS_ONLY = ("shuffle", "reinitialize")
"""Ablations that take a ticket's weights away from its masks."""


def with_transfer(entry: Entry, node: Node, tasks: Sequence[Task], errors: SuiteErrors) -> Entry:
    """The entry with the task of its `ticket_of`.

    Args:
        tasks: of the suite; none where they have errors.
    """
    given = node.get("ticket_of")
    named = given.get("task") if given is not None and isinstance(given.value, dict) else None
    if given is None or named is None or not isinstance(named.value, str):
        return entry  # reported by the validation of the mapping, if there is one
    before, labels = len(errors), [task.label for task in tasks]
    if labels and named.value not in labels:
        hint = near(named.value, labels) or f"; the tasks are {', '.join(labels)}"
        errors.add(named, f"unknown task {shown(named.value)}{hint}")
    elif len(labels) == 1:
        errors.add(named, "the suite has no other task, which could train the tickets of this one")
    weights = bool(given.value["weights"].value) if "weights" in given.value else TicketSource.weights
    for key in OTHERS:
        if node.get(key) is not None:
            errors.add(node.value[key], "cannot be combined with `ticket_of`: remove one of them", at_key=True)
    for key in MASKS_ONLY:
        if weights and getattr(entry, key):
            message = "gives the ticket's masks other weights than its own: remove it, or `weights` of `ticket_of`"
            errors.add(node.value[key], message, at_key=True)
    if len(errors) > before or not tasks:
        return entry
    task = next(task for task in tasks if task.label == named.value)
    return replace(entry, ticket_of=TicketSource(task=task, weights=weights))


def to_plain(transfer: TicketSource | None) -> dict[str, Any]:
    """`ticket_of` as in a suite."""
    return {} if transfer is None else {"ticket_of": {"task": transfer.task.label, "weights": transfer.weights}}

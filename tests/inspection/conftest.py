"""Trials that were performed in this process, as if the store had them."""

import pytest

from prunebench.api.stages import Train
from prunebench.data.prepared import Prepared
from prunebench.execution.worker import write_state
from prunebench.inspection import Finished
from prunebench.plan.planning import protocol
from prunebench.store.entries import Store


@pytest.fixture
def finished(tmp_path, run_chain, registry, prepared):
    """Performs a trial and puts the ends of its trainings, and its own, into a store."""

    def make(trial, chain=None):
        chain, store = chain or run_chain(trial), Store.open(tmp_path / "store")
        data: Prepared = prepared(trial.task.dataset)
        for node in chain.nodes:
            if isinstance(node.stage, Train) or node is chain.nodes[-1]:
                state = chain.states[node.key]
                write_state(store, node, node.parent, state, chain.context, 0.0, {"threads": "1"})
        common = protocol(trial.task, data.fingerprint)
        return Finished(trial, chain.nodes, store, data, common, chain.context, registry)

    return make

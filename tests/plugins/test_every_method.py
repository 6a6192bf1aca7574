"""What holds for every method that is registered, now and later."""

import pytest

from prunebench.api import plugins
from prunebench.api.errors import Unreachable
from prunebench.network.description import describe
from prunebench.pruning.low_rank import factor_names
from prunebench.suite.descriptions import parameters

METHODS = [
    name
    for name, cls in sorted(plugins.load().components["method"].items())
    if not cls.control
    and not any(one.required for one in parameters(cls))  # methods that need a file have separate tests
]


@pytest.fixture
def ended(tiny, method, run_chain):
    """The end of a method's chain with its default parameters on a tiny network."""

    def run(name, sparsity, model="Conv"):
        task = tiny.task(getattr(tiny, model)(), steps=8)
        try:
            return run_chain(tiny.trial(method(name), sparsity=sparsity, task=task))
        except Unreachable as reason:
            pytest.skip(str(reason))

    return run


@pytest.mark.parametrize(("model", "sparsity"), [("MLP", 0.5), ("Conv", 0.5), ("Conv", 0.9)])
@pytest.mark.parametrize("name", METHODS)
def test_the_trained_network_has_exactly_the_zeros_that_were_asked_for(ended, name, model, sparsity):
    chain = ended(name, sparsity, model)
    network = describe(chain.context.trial.task)
    weights = {layer.name: chain.end.parameters[layer.name] for layer in network.layers}
    kept = sum(int(weight.count_nonzero()) for weight in weights.values())
    if ranks := chain.end.cut.ranks:
        kept += sum(chain.end.parameters[one].numel() for name, _ in ranks for one in factor_names(name))
    elif chain.end.cut:  # whole channels, as few as reach the target
        assert sum(weight.numel() for weight in weights.values()) <= round((1 - sparsity) * network.size)
        assert 0 < kept <= round((1 - sparsity) * network.size)
        return
    assert kept == round((1 - sparsity) * network.size)
    assert chain.end.masks.keys() == weights.keys()
    assert all(not weights[name][~mask].any() for name, mask in chain.end.masks.items())


@pytest.mark.parametrize("name", METHODS)
def test_the_whole_chain_is_the_same_when_it_is_run_again(ended, name):
    one, again = ended(name, 0.5, "MLP"), ended(name, 0.5, "MLP")
    for field in ("parameters", "buffers", "masks"):
        first, second = getattr(one.end, field), getattr(again.end, field)
        assert all(first[key].equal(second[key]) for key in first | second)

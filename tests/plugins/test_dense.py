"""The control: trained, and nothing else."""

from prunebench import Initialize, Train


def test_dense_is_the_control_of_every_suite(registry, method):
    assert type(method("dense")) in registry.controls()
    assert [name for name in registry.names("method") if registry.find("method", name)[0].control] == ["dense"]


def test_dense_trains_once_and_prunes_nothing(tiny, method, run_chain):
    chain = run_chain(tiny.trial(method("dense"), sparsity=0.0))
    assert [node.stage for node in chain.nodes] == [Initialize(), Train()]
    assert (chain.end.step, chain.end.cost.steps, chain.end.masks) == (20, 20, {})
    assert all(chain.end.parameters[name].count_nonzero() > 0.99 * size for name, size in sizes(chain))


def sizes(chain):
    return [(layer.name, layer.size) for layer in chain.context.network.layers]


def test_dense_learns_the_digits(tiny, method, run_chain, digits_task):
    assert run_chain(tiny.trial(method("dense"), sparsity=0.0, task=digits_task())).accuracy > 0.85

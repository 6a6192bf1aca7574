"""The control: trained, and nothing else."""

from prunebench import Initialize, Train


def test_dense_is_the_control_of_every_suite(registry, method):
    assert type(method("dense")) in registry.controls()
    controls = [cls.name for cls in registry.controls()]
    assert controls == ["dense", "dense-as-given"]
    assert [cls.name for cls in registry.controls() if cls.as_given] == ["dense-as-given"]


def test_a_network_as_given_has_the_weights_that_it_starts_with_and_costs_nothing(tiny, method, run_chain):
    chain = run_chain(tiny.trial(method("dense-as-given"), sparsity=0.0))
    trained = run_chain(tiny.trial(method("dense"), sparsity=0.0))
    assert [node.stage for node in chain.nodes] == [Initialize()]
    assert (chain.end.step, chain.end.cost.steps, chain.end.cost.flops) == (0, 0, 0)
    first, last = chain.end.parameters, trained.end.parameters
    assert first.keys() == last.keys()
    assert all((first[name] != last[name]).any() for name in first)


def test_dense_trains_once_and_prunes_nothing(tiny, method, run_chain):
    chain = run_chain(tiny.trial(method("dense"), sparsity=0.0))
    assert [node.stage for node in chain.nodes] == [Initialize(), Train()]
    assert (chain.end.step, chain.end.cost.steps, chain.end.masks) == (20, 20, {})
    assert all(chain.end.parameters[name].count_nonzero() > 0.99 * size for name, size in sizes(chain))


def sizes(chain):
    return [(layer.name, layer.size) for layer in chain.context.network.layers]


def test_dense_learns_the_digits(tiny, method, run_chain, digits_task):
    assert run_chain(tiny.trial(method("dense"), sparsity=0.0, task=digits_task())).accuracy > 0.85

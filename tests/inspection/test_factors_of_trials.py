"""A trial whose layers have low-rank factors: exported, read back, delivered and looked into."""

import pytest
import torch

from prunebench import Initialize, Train, load_network
from prunebench.api.errors import TicketError
from prunebench.execution.performing import finished_network
from prunebench.inspection import export, inspect, ticket_of
from prunebench.inspection.report import text
from prunebench.suite.sections.pipelines import Pipeline
from tests.execution.test_factors import PRUNED


@pytest.fixture(params=["mlp", "conv"])
def done(tiny, finished, request):
    model = tiny.MLP(hidden=(12, 8)) if request.param == "mlp" else tiny.Conv()
    chain = (Initialize(), Train(), PRUNED, Train(until="+3it"))
    return finished(tiny.trial(Pipeline(chain=chain), task=tiny.task(model, steps=6)))


def test_it_is_exported_and_read_back(done, tmp_path):
    export(done, tmp_path / "d.safetensors", "state-dict")
    task = done.trial.task
    again = load_network(task.model.build_for(task.interface), tmp_path / "d.safetensors")
    inputs = torch.randn(5, 1, 6, 6)
    expected = done.context.loaded(done.end).eval()(inputs)
    torch.testing.assert_close(again(inputs), expected, rtol=0, atol=0)


def test_runtimes_are_passed_the_same_network(done):
    inputs = torch.randn(5, 1, 6, 6)
    delivered = finished_network(done.end, done.context)
    torch.testing.assert_close(delivered.model(inputs), done.context.loaded(done.end).eval()(inputs))
    left = sum(int(mask.sum()) for mask in done.end.masks.values())
    assert delivered.zeros == pytest.approx(1 - left / done.context.network.size)


def test_a_ticket_has_no_place_for_factors(done):
    with pytest.raises(TicketError, match="has low-rank factors beside its weights, for which a ticket has no place"):
        ticket_of(done)


def test_what_is_looked_into_counts_them(done):
    found = inspect(done)
    assert {row.layer: row.kept for row in found.densities if row.layer in done.end.kept()} == done.end.kept()
    assert [(row.layer, row.rank) for row in found.low_rank] == list(done.end.cut.ranks)
    first = found.low_rank[0]
    assert first.size == done.end.kept()[first.layer] - done.end.nonzero()[first.layer]
    assert found.as_json()["low_rank"][0] == {"layer": first.layer, "rank": 1, "size": first.size}
    assert found.groups == ()
    assert "Low-rank factors" in text(found)

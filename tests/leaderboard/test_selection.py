"""What stands in a table, what does not, and the reason that is given."""

from dataclasses import replace

from prunebench.leaderboard.selection import other_sources, select, shared
from prunebench.records.results import UNKNOWN_DATA


def test_all_current_results_stand(seeds):
    results = seeds(0.9, 0.8)
    assert select(reversed(results)).results == tuple(results)
    assert select(results).older == ()


def test_what_is_not_asked_for_is_left_out(result):
    asked = result(method="a", sparsity=0.9, seed=1)
    others = [result(method=m, sparsity=s, seed=i) for m, s, i in (("b", 0.9, 1), ("a", 0.8, 1), ("a", 0.9, 2))]
    selection = select(
        [asked, *others, replace(asked, task="other")], [("digits", "a", 0.9, 1), ("digits", "c", 0.9, 1)]
    )
    assert selection.results == (asked,)
    assert selection.expected == {("digits", "a", 0.9, 1), ("digits", "c", 0.9, 1)}


def test_a_mapping_by_what_is_asked_for_will_do(result):
    asked = result(seed=1)
    assert select([asked, result(seed=2)], {("digits", "snipper", 0.9, 1): "anything"}).results == (asked,)


def test_of_duplicates_the_newest_counts_and_a_done_one_before_all(result):
    old, new = result(finished=1.0, accuracy=0.1), result(finished=2.0, accuracy=0.2)
    failed = result(status="failed", finished=3.0)
    assert select([new, old]).results == select([old, new]).results == (new,)
    assert select([failed, old]).results == (old,)


def test_only_the_newest_protocol_of_a_task_stands_and_the_others_say_why(result):
    now = [result(method="a"), result(method="b", seed=1)]
    before = [
        replace(
            result(method=method, seed=seed, accuracy=0.99),
            protocol="protocol-0",
            params={**now[0].params, "task.recipe.epochs": 20, "method.name": "what methods differ in is no reason"},
            provenance={**now[0].provenance, "data": "fingerprint-0", "machine": "another"},
            finished=1600000000.0 + seed,
        )
        for method, seed in (("a", 0), ("c", 5))
    ]
    selection = select([*before, *now])
    assert selection.results == tuple(now)
    (older,) = selection.older
    assert (older.kind, older.task, older.identity) == ("protocol", "digits", "protocol-0")
    assert (older.methods, older.count, older.finished) == (("a", "c"), 2, 1600000005.0)
    assert older.changes == ("recipe.epochs 20 → 40", "data fingerprint-0 → fingerprint-1")


def test_results_without_data_stand_alone_and_go_for_any_other(result):
    """Data that cannot be read today takes no right result off a table, and is no older protocol tomorrow."""
    done = result(finished=1.0)
    lost = replace(
        result(status="failed", finished=2.0),
        protocol="protocol-0",
        provenance={**done.provenance, "data": UNKNOWN_DATA},
    )
    assert select([lost]).results == (lost,)
    for results in ([done, lost], [replace(done, finished=3.0), lost]):
        assert select(results).results == (results[0],)
        assert select(results).older == ()


def test_protocols_are_compared_within_a_task_and_suite(result):
    others = [replace(result(), task="t", protocol="p"), replace(result(), suite="z", protocol="p")]
    assert len(select([result(finished=5.0), *others]).results) == 3


def test_without_a_cause_in_the_configuration_whatever_else_differs_is_told(result):
    now, before = result(), replace(result(), protocol="old", finished=1.0)
    before = replace(before, provenance={**before.provenance, "torch": "2.14"})
    assert select([now, before]).older[0].changes == ("torch 2.14 → 2.15",)
    same = replace(before, provenance=now.provenance)
    assert select([now, same]).older[0].changes == ()


def test_what_varies_among_results_is_no_reason(result, seeds):
    now = [replace(one, provenance={"machine": f"m{one.seed}"}) for one in seeds(0.9, 0.9)]
    before = [replace(one, protocol="old", finished=1.0, provenance={"machine": "m5"}) for one in seeds(0.9, 0.9)]
    assert select([*now, *before]).older[0].changes == ()


def test_many_changes_are_counted(result):
    now = replace(result(), params={f"task.recipe.p{index}": 1 for index in range(12)})
    before = replace(result(), protocol="old", finished=1.0, params={f"task.recipe.p{index}": 0 for index in range(12)})
    changes = select([now, before]).older[0].changes
    assert len(changes) == 9
    assert changes[-1] == "and 4 more"


def test_the_newest_variant_of_a_label_stands_and_the_older_is_superseded(result):
    now = replace(result(method="a", seed=1), params={"method.batches": 10}, finished=9e8)
    before = replace(result(method="a"), variant="before", params={"method.rate": True}, finished=8e8)
    other = result(method="b")
    selection = select([before, now, other])
    assert selection.results == (now, other)
    (older,) = selection.older
    assert (older.kind, older.methods, older.identity) == ("variant", ("a",), "before")
    assert older.changes == ("method.batches not set → 10", "method.rate true → not set")


def test_shared_is_what_all_results_agree_on(seeds):
    found = shared(seeds(0.9, 0.8))
    assert found["recipe.epochs"] == "40"
    assert found["data"] == "fingerprint-1"
    assert "seed" not in found
    assert "key" not in found
    assert shared([]) == {}


def of_version(result, version, **sources):
    """A result with versions and sources in its provenance, and a protocol to go with them."""
    said = {"protocol.version": str(version), **{f"{part}.source": value for part, value in sources.items()}}
    return replace(result, protocol=f"protocol {version}", provenance={**result.provenance, **said})


def test_results_of_an_older_protocol_are_not_compared_whenever_they_were_made(result):
    now = of_version(result(finished=1.0), 2, core="b")
    before, oldest = of_version(result(finished=9.0), 1, core="a"), result(finished=99.0)
    selection = select([oldest, before, now])
    assert selection.results == (now,)
    assert [older.changes for older in selection.older] == [
        ("protocol version none (older) → 2",),
        ("protocol version 1 → 2",),
    ]


def test_another_version_of_a_model_or_method_is_the_reason_and_not_its_source(result):
    def made(version, source, **changes):
        provenance = {"model.version": version, "model.source": source, "method.version": version}
        return replace(result(finished=float(version)), provenance=provenance, **changes)

    now = made("2", "b")
    assert select([now, made("1", "a", protocol="old")]).older[0].changes == ("model.version 1 → 2",)
    assert select([now, made("1", "a", variant="old")]).older[0].changes == ("method.version 1 → 2",)


def test_the_source_of_what_declares_no_version_is_the_reason(result):
    now, before = (replace(result(), provenance={"method.source": source}) for source in "ba")
    before = replace(before, variant="old", finished=1.0)
    assert select([now, before]).older[0].changes == ("method.source a → b",)


def test_rows_of_one_protocol_and_other_source_are_compared_and_told(seeds):
    one, other = seeds(0.9, 0.8)
    rows = [of_version(one, 1, core="a", method="m"), of_version(other, 1, core="b", method="m")]
    assert select(rows).results == tuple(rows)
    assert other_sources(rows) == ("core",)
    assert other_sources(rows[:1]) == ()

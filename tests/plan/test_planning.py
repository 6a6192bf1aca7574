"""The tree: what is shared, what is not, and which changes make other keys."""

from dataclasses import dataclass, fields, replace

import pytest
from torch import nn

import prunebench
from prunebench import Deploy, Initialize, Prune, Reinitialize, Rewind, Shuffle, Train, added_later
from prunebench.api.errors import PluginError, PrunebenchError
from prunebench.api.tasks import Entry, Optimizer, Prunable, Recipe, Schedule, Task
from prunebench.api.versions import PROTOCOL_VERSION
from prunebench.network.description import describe
from prunebench.plan.ablations import ablated
from prunebench.plan.planning import expected_flops, make_plan, protocol, resolve
from prunebench.training.recipes import resolved_options

FINGERPRINTS = {"tiny": "0" * 32}


@pytest.fixture
def plan_of():
    """The plan of some trials on the tiny task."""
    return lambda *trials, fingerprints=FINGERPRINTS: make_plan(trials, fingerprints)


@pytest.fixture
def chain_of(tiny):
    """The nodes of a trial with these stages."""

    def resolved(*stages, **trial):
        return list(resolve(tiny.trial(tiny.Chained(chain=stages), **trial), "root"))

    return resolved


def told(nodes):
    """A chain in short: the stage, the density after it, and the steps of a training or the step gone back to."""

    def steps(node):
        return (node.start, node.stop) if isinstance(node.stage, Train) else node.stop

    return [(type(node.stage).__name__, node.density, steps(node)) for node in nodes]


def tree(plan):
    return {key: (node.stage, node.parent, node.source, node.start, node.stop) for key, node in plan.nodes.items()}


# --- what is shared


def test_every_method_that_begins_by_training_shares_one_dense_training(tiny, method, plan_of):
    entries = {
        "dense": method("dense"),
        "magnitude": method("magnitude"),
        "imp": method("imp"),
        "rewound": method("imp", rewind_to="5it"),
    }
    plan = plan_of(*(tiny.trial(one, label=label) for label, one in entries.items()))
    dense, *others = (trial.chain for trial in plan.trials)
    (end,) = {key for key, node in plan.nodes.items() if node.stop == 20 and key in dense}
    assert all(end in chain for chain in others)
    unpruned = [node for node in plan.nodes.values() if node.density == 1.0]
    assert told(sorted(unpruned, key=lambda node: node.stop)) == [
        ("Initialize", 1.0, 0),
        ("Train", 1.0, (0, 5)),
        ("Train", 1.0, (5, 20)),
    ]


def test_the_points_of_a_trajectory_are_joined_in_order_whichever_trial_came_first(tiny, method, plan_of):
    trials = [tiny.trial(method("imp", rewind_to=step), label=step) for step in ("15it", "5it", "end", "10it")]
    for given in (trials, trials[::-1]):
        plan = plan_of(*given)
        dense = sorted((node for node in plan.nodes.values() if node.density == 1.0), key=lambda node: node.stop)
        assert [(node.start, node.stop) for node in dense] == [(0, 0), (0, 5), (5, 10), (10, 15), (15, 20)]
        assert [node.parent for node in dense] == [None, *(node.key for node in dense[:-1])]
        assert [node.steps for node in dense] == [0, 5, 5, 5, 5]


def test_a_split_training_has_the_key_of_a_whole_one(chain_of):
    whole = chain_of(Initialize(), Train())
    split = chain_of(Initialize(), Train("3it"), Train("9it"), Train())
    assert split[-1].key == whole[-1].key
    assert len({node.key for node in split}) == 4


@pytest.mark.parametrize("stages", [(Train("5it"), Train("5it"), Train()), (Train(0), Train()), (Train(), Train("+0"))])
def test_a_training_of_no_steps_is_left_out(chain_of, stages):
    nodes = chain_of(Initialize(), *stages)
    assert all(node.steps for node in nodes[1:])
    assert nodes[-1].key == chain_of(Initialize(), Train())[-1].key


def test_times_that_name_one_step_name_one_state(chain_of):
    ends = {chain_of(Initialize(), Train(until))[-1].key for until in ("5it", "25%", "1.25ep", "+5it")}
    assert len(ends) == 1


def test_rewinding_to_one_step_is_the_same_however_it_is_written(tiny, chain_of):
    head = (Initialize(), Train("5it"), Train(), Prune(by=tiny.ByChance(), density=0.5))
    assert len({chain_of(*head, Rewind(to))[-1].key for to in ("5it", "25%", "1.25ep")}) == 1


def test_another_stream_is_another_training(chain_of):
    one, other = chain_of(Initialize(), Train()), chain_of(Initialize(), Train(stream="other"))
    assert one[0].key == other[0].key
    assert one[1].key != other[1].key
    mixed = chain_of(Initialize(), Train("5it"), Train(stream="other"))
    assert mixed[-1].key not in (one[1].key, other[1].key)


def test_one_ladder_serves_every_sparsity_on_its_way(tiny, method, plan_of):
    sparsities = (0.2, 0.36, 0.488, 0.5, 0.95)
    plan = plan_of(*(tiny.trial(method("imp"), sparsity=sparsity) for sparsity in sparsities))
    # 0.8, 0.64, 0.512, then 0.5 for one trial and 0.4096 and so on down to 0.05 for the other
    rungs = sorted({node.density for node in plan.nodes.values() if isinstance(node.stage, Prune)}, reverse=True)
    assert rungs[:5] == [0.8, 0.64, 0.512, 0.5, 0.4096]
    assert len(rungs) == 15
    assert len(plan.nodes) == 2 + 3 * 15
    assert [len(trial.chain) for trial in plan.trials] == [5, 8, 11, 14, 2 + 3 * 14]
    assert plan.trials[3].chain[:11] == plan.trials[2].chain


@pytest.mark.parametrize(
    "name", ["grasp", "imp", "lr-rewinding", "magnitude", "magnitude-init", "random", "snip", "synflow"]
)
def test_an_ablated_trial_shares_everything_up_to_the_last_pruning(tiny, method, plan_of, name):
    plain, shuffled, redrawn, both = plan_of(
        tiny.trial(method(name)),
        tiny.trial(method(name), shuffle=True),
        tiny.trial(method(name), reinitialize=True),
        tiny.trial(method(name), shuffle=True, reinitialize=True),
    ).trials
    shared = [len(set(plain.chain) & set(other.chain)) for other in (shuffled, redrawn, both)]
    last = {"imp": 11 + 1, "lr-rewinding": 11 + 1, "magnitude": 3}.get(name, 2)
    assert shared == [last] * 3
    assert plain.chain[:last] == shuffled.chain[:last] == redrawn.chain[:last] == both.chain[:last]
    assert shuffled.chain[last] == both.chain[last]


def test_inverting_changes_every_pruning_and_nothing_before_the_first(tiny, method, plan_of):
    plain, inverted = plan_of(tiny.trial(method("imp")), tiny.trial(method("imp"), invert=True)).trials
    assert plain.chain[:2] == inverted.chain[:2]
    assert not set(plain.chain[2:]) & set(inverted.chain[2:])


def test_a_pruning_below_another_one_is_shared_by_its_own_density_alone(tiny, plan_of, chain_of):
    first = chain_of(Initialize(), Prune(by=tiny.ByChance(), density=0.5), sparsity=0.5)
    second = chain_of(Initialize(), Prune(by=tiny.ByChance(), density=0.5), sparsity=0.9)
    assert [node.key for node in first] == [node.key for node in second]


# --- which changes make other keys


def keys(trial, fingerprint="0" * 32):
    planned = make_plan([trial], {trial.task.label: fingerprint}).trials[0]
    return list(planned.chain)


def test_labels_suites_and_company_change_no_key(tiny, method, plan_of):
    trial = tiny.trial(method("snip"))
    renamed = replace(trial, suite="other", entry=replace(trial.entry, label="other"))
    relabelled = replace(trial, task=replace(trial.task, label="other"))
    company = [tiny.trial(method("imp"), sparsity=sparsity, seed=seed) for sparsity in (0.1, 0.7) for seed in (0, 1)]
    assert keys(trial) == keys(renamed) == keys(relabelled)
    for trials in ([*company, trial], [trial, *company]):
        (found,) = [planned for planned in plan_of(*trials).trials if planned.trial == trial]
        assert list(found.chain) == keys(trial)


def test_the_order_of_trials_changes_neither_keys_nor_tree(tiny, method, plan_of):
    trials = [
        tiny.trial(method("imp", rewind_to=step), sparsity=sparsity, seed=seed)
        for step in (0, "5it", "9it")
        for sparsity in (0.3, 0.5)
        for seed in (0, 1)
    ]
    assert tree(plan_of(*trials)) == tree(plan_of(*trials[::-1]))


def test_a_trial_keeps_its_identity_under_another_suites_name_and_in_any_plan(tiny, method, plan_of):
    trial = tiny.trial(method("imp"))
    alone = plan_of(trial).trials[0]
    among = plan_of(tiny.trial(method("dense")), replace(trial, suite="other")).trials[1]
    assert alone.identity == among.identity
    assert alone.key == among.key == alone.chain[-1]


def test_two_labels_of_one_method_are_two_results_of_one_state(tiny, method, plan_of):
    one, other = plan_of(tiny.trial(method("imp")), tiny.trial(method("imp"), label="other")).trials
    assert one.key == other.key
    assert one.identity != other.identity


def test_another_seed_shares_nothing(tiny, method):
    assert not set(keys(tiny.trial(method("imp")))) & set(keys(tiny.trial(method("imp"), seed=1)))


def test_another_parameter_of_a_method_changes_what_it_does_and_not_what_comes_before(tiny, method):
    plain, other = keys(tiny.trial(method("snip"))), keys(tiny.trial(method("snip", batches=2)))
    assert plain[0] == other[0]
    assert not set(plain[1:]) & set(other[1:])


@pytest.mark.parametrize(
    "change",
    [
        {"optimizer": Optimizer(name="sgd", lr=0.051, momentum=0.9, weight_decay=1e-3)},
        {"optimizer": Optimizer(name="sgd", lr=0.05, momentum=0.9, weight_decay=1e-3, nesterov=True)},
        {"batch_size": 15},
        {"steps": 21},
        {"schedule": Schedule(name="cosine")},
        {"validation": 1},
        {"evaluate_every": "8it"},
        {"label_smoothing": 0.1},
        {"augmentation": ("flip",)},
        {"clip_norm": 1.0},
        {"precision": "bfloat16"},
        {"prunable": Prunable(last=False)},
    ],
)
def test_another_recipe_is_another_protocol_and_shares_nothing(tiny, method, change):
    plain, other = tiny.trial(method("snip")), tiny.trial(method("snip"), task=tiny.task(**change))
    assert protocol(plain.task, "f") != protocol(other.task, "f")
    assert not set(keys(plain)) & set(keys(other))


def test_another_model_or_data_set_shares_nothing(tiny, method):
    models, dataset = (tiny.MLP(), tiny.MLP(hidden=(13,)), tiny.Conv()), tiny.Blobs(draw=1)
    tasks = [*(tiny.task(model) for model in models), tiny.task(dataset=dataset)]
    found = [keys(tiny.trial(method("snip"), task=task)) for task in tasks]
    assert len(set().union(*found)) == 4 * len(found[0])


def test_other_data_shares_nothing(tiny, method):
    trial = tiny.trial(method("snip"))
    assert not set(keys(trial)) & set(keys(trial, "1" * 32))


def test_another_version_of_the_protocol_shares_nothing(tiny, method, monkeypatch):
    trial = tiny.trial(method("snip"))
    before = keys(trial)
    monkeypatch.setattr("prunebench.plan.planning.PROTOCOL_VERSION", PROTOCOL_VERSION + 1)
    assert not set(before) & set(keys(trial))


@pytest.mark.parametrize("name", ["sgd", "adam", "sgdw"])
def test_a_default_of_an_optimizer_that_its_library_changes_shares_nothing(tiny, method, monkeypatch, name):
    trial = tiny.trial(method("snip"), task=tiny.task(optimizer=Optimizer(name=name, lr=0.1)))
    before, known = keys(trial), resolved_options(trial.task.recipe.optimizer)
    option = "betas" if name == "adam" else "momentum"
    assert known[option] == {"adam": (0.9, 0.999), "sgd": 0, "sgdw": 0.9}[name]
    monkeypatch.setattr("prunebench.plan.planning.resolved_options", lambda spec: known | {option: (0.5,)})
    assert not set(before) & set(keys(trial))


def test_the_options_of_an_optimizer_are_those_that_it_works_with():
    given = Optimizer(name="adam", lr=0.1, betas=(0.8, 0.9), weight_decay=0.5)
    assert resolved_options(given) == {"betas": (0.8, 0.9), "eps": 1e-8, "weight_decay": 0.5}


def test_a_field_that_is_added_to_a_task_or_a_recipe_later_changes_no_key(tiny, method):
    @dataclass(frozen=True, kw_only=True)
    class LaterRecipe(Recipe):
        __key_name__ = "Recipe"
        extra: bool = added_later(False)

    @dataclass(frozen=True, kw_only=True)
    class LaterTask(Task):
        start: str = added_later("fresh")

    def later(**changes):
        recipe = {one.name: getattr(plain.recipe, one.name) for one in fields(plain.recipe)}
        parts = {one.name: getattr(plain, one.name) for one in fields(plain)}
        parts["recipe"] = LaterRecipe(**recipe, extra=changes.pop("extra", False))
        return protocol(LaterTask(**parts, **changes), "f")

    plain = tiny.task()
    assert later() == protocol(plain, "f")
    assert len({later(), later(extra=True), later(start="a file")}) == 3


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"density": 0.5}, {"density": 0.51}),
        ({}, {"allocation": "erk"}),
        ({"allocation": (("1.weight", 0.5),)}, {"allocation": (("1.weight", 0.4),)}),
        ({}, {"rounds": 2}),
        ({}, {"invert": True}),
    ],
)
def test_each_fact_of_a_pruning_is_in_its_key(tiny, chain_of, one, other):
    first, second = (
        chain_of(Initialize(), Prune(**{"by": tiny.ByChance(), "density": 0.5, **facts}))[-1] for facts in (one, other)
    )
    assert first.key != second.key


def test_each_fact_of_a_rewinding_is_in_its_key(tiny, chain_of):
    head = (Initialize(), Train("5it"), Train(), Prune(by=tiny.ByChance(), density=0.5))
    ways = (
        Rewind(to=0),
        Rewind(to="5it"),
        Rewind(to="5it", weights=False),
        Rewind(to="5it", optimizer=True),
        Reinitialize(),
        Shuffle(),
    )
    assert len({chain_of(*head, way)[-1].key for way in ways}) == len(ways)


# --- chains by hand


def test_the_chain_of_a_ticket_at_half_density(tiny, method):
    nodes = list(resolve(tiny.trial(method("imp")), "root"))
    level = [("Rewind", 0), ("Train", (0, 20))]
    assert told(nodes) == [
        ("Initialize", 1.0, 0),
        ("Train", 1.0, (0, 20)),
        *[(name, density, steps) for density in (0.8, 0.64, 0.512, 0.5) for name, steps in [("Prune", 20), *level]],
    ]
    assert {node.source for node in nodes if isinstance(node.stage, Rewind)} == {nodes[0].key}


def test_the_chain_of_a_rewound_ticket(tiny, method):
    nodes = list(resolve(tiny.trial(method("imp", rewind_to="25%"), sparsity=0.2), "root"))
    assert told(nodes) == [
        ("Initialize", 1.0, 0),
        ("Train", 1.0, (0, 5)),
        ("Train", 1.0, (5, 20)),
        ("Prune", 0.8, 20),
        ("Rewind", 0.8, 5),
        ("Train", 0.8, (5, 20)),
    ]
    assert nodes[4].source == nodes[1].key


def test_rewinding_goes_back_to_the_original_and_not_to_a_rewound_state(tiny, chain_of):
    prune = Prune(by=tiny.ByChance(), density=0.5)
    nodes = chain_of(
        *(Initialize(), Train("5it"), Train()),
        *(prune, Rewind(to=0), Train("5it"), Train()),
        *(prune, Rewind(to="5it"), Train()),
        *(prune, Rewind(to="end")),
    )
    assert [(node.stop, node.density) for node in (nodes[1], nodes[5])] == [(5, 1.0), (5, 0.5)]
    found = [node.source for node in nodes if isinstance(node.stage, Rewind)]
    assert found == [nodes[0].key, nodes[1].key, nodes[2].key]


def test_rewinding_to_one_step_is_one_state_however_it_is_written(chain_of):
    keys = {chain_of(Initialize(), Train("5it"), Train(), Rewind(to))[-1].key for to in ("5it", "25%", "1.25ep")}
    assert len(keys) == 1


def test_shuffling_reads_the_last_state_that_was_whole(tiny, chain_of):
    first, second = Prune(by=tiny.ByChance(), density=0.5), Prune(by=tiny.ByChance(), density=0.3)
    nodes = chain_of(Initialize(), Train(), first, Train("+2it"), second, Shuffle())
    assert nodes[-1].source == nodes[1].key


def test_fine_tuning_goes_on_after_the_end(tiny, method):
    nodes = list(resolve(tiny.trial(method("magnitude", finetune="2ep", rounds=2), sparsity=0.91), "root"))
    assert told(nodes) == [
        ("Initialize", 1.0, 0),
        ("Train", 1.0, (0, 20)),
        ("Prune", pytest.approx(0.3), 20),
        ("Train", pytest.approx(0.3), (20, 28)),
        ("Prune", pytest.approx(0.09), 28),
        ("Train", pytest.approx(0.09), (28, 36)),
    ]


def test_new_weights_begin_at_step_0(tiny, method):
    nodes = list(resolve(tiny.trial(method("imp", rewind_to="5it"), sparsity=0.2, reinitialize=True), "root"))
    assert told(nodes)[-3:] == [("Prune", 0.8, 20), ("Reinitialize", 0.8, 0), ("Train", 0.8, (0, 20))]


@pytest.mark.parametrize(
    ("ablations", "tail"),
    [
        ({}, [Rewind(), Train()]),
        ({"shuffle": True}, [Shuffle(), Rewind(), Train()]),
        ({"reinitialize": True}, [Reinitialize(), Train()]),
        ({"reinitialize": 3}, [Reinitialize(draw=3), Train()]),
        ({"shuffle": True, "reinitialize": True}, [Shuffle(), Reinitialize(), Train()]),
    ],
)
def test_ablations_change_what_follows_the_last_pruning(tiny, ablations, tail):
    first, last = (Prune(by=tiny.ByChance(), density=density) for density in (0.8, 0.5))
    chain = [Initialize(), Train(), first, Rewind(), Train(), last, Rewind(), Train()]
    entry = Entry(label="mine", method=tiny.ByChance(), **ablations)
    assert ablated(chain, entry) == [*chain[:6], *tail]


@pytest.mark.parametrize(
    ("tail", "retrained"),
    [
        ([], [Train()]),
        ([Train("+10it")], [Train(), Train("+10it")]),
        ([Rewind(weights=False), Train()], [Train()]),
        ([Rewind("5it"), Train("10it"), Train("+5it")], [Train("10it"), Train("+5it")]),
    ],
)
def test_new_weights_are_trained_by_the_whole_recipe_before_they_are_fine_tuned(tiny, tail, retrained):
    head = [Initialize(), Train("5it"), Train(), Prune(by=tiny.ByChance(), density=0.5)]
    entry = Entry(label="mine", method=tiny.ByChance(), reinitialize=True)
    assert ablated([*head, *tail], entry) == [*head, Reinitialize(), *retrained]


def test_inverting_keeps_the_lowest_in_every_pruning(tiny):
    first, last = (Prune(by=tiny.ByChance(), density=density) for density in (0.8, 0.5))
    entry = Entry(label="mine", method=tiny.ByChance(), invert=True)
    assert ablated([Initialize(), first, Train(), last], entry) == [
        Initialize(),
        replace(first, invert=True),
        Train(),
        replace(last, invert=True),
    ]


# --- what makes no sense, and what is skipped


def test_a_chain_begins_with_initialize(chain_of):
    with pytest.raises(PrunebenchError, match=r"tiny/mine/0\.5/0: a chain begins with Initialize, not with Train"):
        chain_of(Train())


def test_an_empty_chain_is_an_error(chain_of):
    with pytest.raises(PrunebenchError, match="method 'chained' has an empty chain"):
        chain_of()


def test_training_back_in_time_is_an_error(chain_of):
    with pytest.raises(PrunebenchError, match="lies before step 20, where the chain stands"):
        chain_of(Initialize(), Train(), Train("5it"))


def test_rewinding_to_where_the_chain_did_not_stop_is_an_error(tiny, chain_of):
    with pytest.raises(PrunebenchError, match=r"cannot rewind to 25% \(step 5\): the chain did not stop there"):
        chain_of(Initialize(), Train("4it"), Train(), Rewind(to="25%"))


def test_a_rewinding_point_after_the_end_is_an_error(tiny, method):
    with pytest.raises(PrunebenchError, match="lies before step 21"):
        list(resolve(tiny.trial(method("imp", rewind_to="21it")), "root"))


def test_a_density_that_keeps_nothing_is_skipped_with_its_reason(tiny, method, plan_of):
    kept, lost = plan_of(*(tiny.trial(method("snip"), sparsity=sparsity) for sparsity in (0.997, 0.999))).trials
    assert kept.chain
    assert (lost.chain, lost.skipped) == ((), "density 0.001 keeps none of 468 weights")
    assert plan_of(lost.trial).nodes == {}


@pytest.mark.parametrize("ablation", ["shuffle", "reinitialize", "invert"])
def test_an_ablation_of_what_prunes_nothing_is_skipped(tiny, method, plan_of, ablation):
    (trial,) = plan_of(tiny.trial(method("dense"), sparsity=0.0, **{ablation: True})).trials
    assert trial.skipped == "method 'dense' prunes nothing that could be ablated"


@pytest.mark.parametrize("pruned_before", [True, False])
def test_inverting_a_mask_that_a_training_makes_is_skipped(tiny, plan_of, pruned_before):
    first = (Prune(by=tiny.ByChance(), density=0.5),) if pruned_before else ()
    chain = tiny.Chained(chain=(Initialize(), *first, Train(by=tiny.ByChance()), Train("+5it")))
    (trial,) = plan_of(tiny.trial(chain, invert=True)).trials
    assert trial.skipped == "method 'chained' makes its last mask while it trains: no pruning to invert"


@pytest.mark.parametrize(
    ("ablations", "ablation"),
    [
        ({"shuffle": True}, [Rewind(), Shuffle()]),
        ({"reinitialize": True}, [Reinitialize()]),
        ({"shuffle": True, "reinitialize": True}, [Rewind(), Shuffle(), Reinitialize()]),
    ],
)
@pytest.mark.parametrize(
    ("tail", "retrained"),
    [([], [Train()]), ([Train()], [Train()]), ([Train("+5it"), Deploy()], [Train(), Train("+5it"), Deploy()])],
)
def test_a_mask_that_a_training_makes_is_ablated_when_that_ends(tiny, ablations, ablation, tail, retrained):
    head = [Initialize(), Prune(by=tiny.ByChance(), density=0.5), Train("10it", by=tiny.ByChance())]
    entry = Entry(label="mine", method=tiny.ByChance(), **ablations)
    assert ablated([*head, *tail], entry) == [*head, *ablation, *retrained]


@pytest.mark.parametrize("ablation", ["shuffle", "reinitialize", "invert"])
def test_what_is_pruned_after_such_a_training_can_be_ablated(tiny, plan_of, ablation):
    last = Prune(by=tiny.ByChance(), density=0.5)
    chain = tiny.Chained(chain=(Initialize(), Train(by=tiny.ByChance()), last, Train("+5it")))
    plain, changed = plan_of(tiny.trial(chain), tiny.trial(chain, **{ablation: True})).trials
    shared = 2 if ablation == "invert" else 3
    assert plain.chain[:shared] == changed.chain[:shared]
    assert not set(plain.chain[shared:]) & set(changed.chain[shared:])


def test_a_share_of_no_layer_is_an_error_before_any_work(tiny, chain_of):
    with pytest.raises(PrunebenchError, match="no prunable layer is called 'x'"):
        chain_of(Initialize(), Prune(by=tiny.ByChance(), density=0.5, allocation=(("x", 0.5),)))


def test_shares_that_cannot_reach_the_density_are_skipped(tiny, plan_of):
    chain = (Initialize(), Prune(by=tiny.ByChance(), density=0.5, allocation=(("4.weight", 0.5),)))
    (trial,) = plan_of(tiny.trial(tiny.Chained(chain=chain))).trials
    assert trial.skipped == "density 0.5 is below 0.923077, which the layers that stay dense make up"


def test_shuffling_without_a_mask_is_skipped(tiny, plan_of):
    (trial,) = plan_of(tiny.trial(tiny.Chained(chain=(Initialize(), Shuffle())))).trials
    assert trial.skipped == "there is no mask to shuffle: nothing was pruned yet"


def test_skipped_trials_have_identities_of_their_own(tiny, method, plan_of):
    trials = [tiny.trial(method("snip"), sparsity=0.999, seed=seed) for seed in (0, 1)]
    assert len({planned.identity for planned in plan_of(*trials).trials}) == 2


# --- a plan is cheap


def test_a_plan_touches_no_data(tiny, method, plan_of):
    class Missing(tiny.Blobs):
        def load(self, root):
            raise AssertionError("a plan must not load data")

    assert plan_of(tiny.trial(method("snip"), task=tiny.task(dataset=Missing()))).trials[0].chain


def test_ten_thousand_trials_merge_into_one_tree(tiny, method):
    sparsities = (0.2, 0.36, 0.488, 0.5904, 0.67232, 0.737856, 0.7902848, 0.83222784, 0.865782272, 0.8926258176)
    seeds = range(250)
    task = tiny.task()
    trials = [
        tiny.trial(one, sparsity=sparsity, seed=seed, task=task, label=label)
        for label, one in {
            "imp": method("imp"),
            "rewound": method("imp", rewind_to="5it"),
            "snip": method("snip"),
            "magnitude": method("magnitude"),
        }.items()
        for sparsity in sparsities
        for seed in seeds
    ]
    plan = make_plan(trials, FINGERPRINTS)
    # A seed: Initialize and two trainings for all; three stages a level for each ticket and two a sparsity for the
    # others; but the first level's pruning is the same in both tickets and in magnitude pruning.
    assert len(plan.trials) == 10_000
    assert len(plan.nodes) == 250 * (3 + 2 * 3 * 10 + 2 * 10 + 2 * 10 - 2)
    assert len({trial.identity for trial in plan.trials}) == 10_000
    assert sum(len(trial.chain) for trial in plan.trials) > 2 * len(plan.nodes)


# --- figures


def test_children_are_the_stages_that_go_on_from_a_state(tiny, method, plan_of):
    plan = plan_of(tiny.trial(method("imp"), sparsity=0.2), tiny.trial(method("magnitude"), sparsity=0.2))
    start, end, *_ = plan.trials[0].chain
    children = plan.children()
    assert children[start] == [end]
    assert set(children[end]) == {plan.trials[0].chain[2], plan.trials[1].chain[2]}
    assert children[plan.trials[0].key] == []


def test_expected_flops_fall_as_the_weights_do(tiny, chain_of):
    nodes = chain_of(Initialize(), Train("4it"), Prune(by=tiny.ByChance(), density=0.25), Train("6it"))
    network = describe(nodes[0].trial.task)
    found = [expected_flops(node, network) for node in nodes]
    assert found == [0.0, 3 * 2 * 468 * 60, 0.0, pytest.approx(3 * 2 * 117 * 32)]


def test_a_model_that_the_data_does_not_fit_is_named_with_both(tiny, built_in, digits_task, method):
    task = replace(digits_task(), label="small", model=built_in("model", "vgg16"))
    trial = replace(tiny.trial(method("random")), task=task)
    told = "'small': model 'vgg16' with inputs of 1x8x8 .'digits'. and outputs of 10 raised RuntimeError: .*too small"
    with pytest.raises(PluginError, match=told):
        make_plan([trial], {})


class Odd(BaseException):
    """As a library may have one."""


ERRORS = {error.__name__: error for error in (SystemExit, Odd, KeyboardInterrupt)}


class Leaving(prunebench.Model):
    """Ends the process in one of its functions."""

    name = "leaving"
    where: str
    error: str = "SystemExit"

    def build(self, shape, classes):
        if self.where == "build":
            raise ERRORS[self.error](0)
        net = nn.Sequential(nn.Flatten(), nn.Linear(36, classes))
        if self.where == "forward":
            net.register_forward_pre_hook(self.leave)
        return net

    def prunable(self, module):
        if self.where == "prunable":
            raise ERRORS[self.error](0)
        return super().prunable(module)

    def leave(self, module, inputs):
        raise ERRORS[self.error](0)


@pytest.mark.parametrize("error", ["SystemExit", "Odd"])
@pytest.mark.parametrize("where", ["build", "prunable", "forward"])
def test_a_model_that_leaves_the_process_is_an_error_of_its_plugin(tiny, where, error):
    trial = tiny.trial(tiny.ByChance(), task=tiny.task(Leaving(where=where, error=error)))
    with pytest.raises(PluginError, match=rf"model 'leaving' with .* raised {error}: 0 \(test_planning\.py"):
        make_plan([trial], {})


def test_a_method_that_leaves_the_process_in_its_stages_is_an_error_of_its_plugin(tiny):
    class Leaver(tiny.ByChance):
        name = "leaver"

        def stages(self, trial):
            yield Initialize()
            raise SystemExit(0)

    with pytest.raises(PluginError, match=r"stages of method 'leaver' raised SystemExit: 0 \(test_planning\.py"):
        make_plan([tiny.trial(Leaver())], {})


def test_a_run_that_is_interrupted_while_it_is_planned_is_no_error_of_a_plugin(tiny):
    trial = tiny.trial(tiny.ByChance(), task=tiny.task(Leaving(where="forward", error="KeyboardInterrupt")))
    with pytest.raises(KeyboardInterrupt):
        make_plan([trial], {})


def test_every_stage_is_a_few_words_with_its_steps(tiny):
    chance = tiny.ByChance()
    chain = (
        Initialize(),
        Train(until="3it"),
        Train(until="9it", by=chance, density=0.5),
        Prune(by=chance, density=1 / 3),
        Shuffle(),
        Rewind(to="3it"),
        Reinitialize(),
    )
    trial = tiny.trial(tiny.Chained(chain=chain), task=tiny.task(steps=20))
    assert [node.summary for node in resolve(trial, protocol(trial.task, "data"))] == [
        "initialize",
        "train from step 0 to 3",
        "train from step 3 to 9 by by-chance",
        "prune to density 0.3333 by by-chance",
        "shuffle",
        "rewind to step 3",
        "reinitialize",
    ]

"""Which states are kept, and in which portions the rest is made."""

import pytest

import prunebench
from prunebench import Initialize, Prune, Rewind, Train
from prunebench.plan.jobs import Job, ReadyQueue, kept_keys, missing_jobs, priorities, runs_alone
from prunebench.plan.planning import make_plan


class Shelf:
    """A store that has these keys."""

    def __init__(self, keys=()):
        self.keys = set(keys)

    def has(self, key):
        return key in self.keys


@pytest.fixture
def plan_of():
    return lambda *trials: make_plan(trials, {})


def wanted(plan):
    return [trial.key for trial in plan.trials]


def kinds(plan, path):
    return [type(plan.nodes[key].stage).__name__ for key in path]


# --- what is kept


def test_of_a_pruning_at_initialization_only_the_end_is_kept(tiny, method, plan_of):
    plan = plan_of(tiny.trial(method("snip")))
    assert kept_keys(plan) == {plan.trials[0].key}


def test_a_state_that_two_stages_go_on_from_is_kept(tiny, method, plan_of):
    plan = plan_of(tiny.trial(method("snip")), tiny.trial(method("snip"), sparsity=0.9))
    assert kept_keys(plan) == {plan.trials[0].chain[0], *wanted(plan)}


def test_what_is_rewound_to_and_every_end_of_training_is_kept(tiny, method, plan_of):
    plan = plan_of(tiny.trial(method("imp", rewind_to="5it"), sparsity=0.36))
    chain = plan.trials[0].chain
    assert kinds(plan, chain) == ["Initialize", "Train", "Train", *["Prune", "Rewind", "Train"] * 2]
    assert kept_keys(plan) == {chain[1], chain[2], chain[5], chain[8]}


def test_an_initialization_that_is_rewound_to_is_kept(tiny, method, plan_of):
    plan = plan_of(tiny.trial(method("imp"), sparsity=0.2))
    assert plan.trials[0].chain[0] in kept_keys(plan)


def test_what_was_pruned_is_kept_for_a_shuffled_mask(tiny, method, plan_of):
    plan = plan_of(tiny.trial(method("snip"), shuffle=True))
    assert kept_keys(plan) == {plan.trials[0].chain[0], plan.trials[0].key}


def test_a_trial_that_ends_without_training_is_kept(tiny, method, plan_of):
    plan = plan_of(tiny.trial(method("magnitude", finetune=0)))
    assert kinds(plan, plan.trials[0].chain) == ["Initialize", "Train", "Prune"]
    assert plan.trials[0].key in kept_keys(plan)


def test_a_cut_by_latency_is_a_job_of_its_own_beside_which_nothing_runs(tiny, plan_of):
    class Halved(prunebench.Method):
        name = "halved"
        unit = "latency"

        def stages(self, trial):
            cut = prunebench.Cut(by=self, density=0.5, unit=self.unit)
            return [Initialize(), Prune(by=self, density=0.9), cut, Prune(by=self, density=0.4)]

        def scores(self, scoring):
            raise NotImplementedError

        channel_scores = scores

    plan = plan_of(tiny.trial(Halved()))
    chain = plan.trials[0].chain
    assert kept_keys(plan) == set(chain[1:])
    assert [key for key in chain if runs_alone(plan, key)] == [chain[2]]
    Halved.unit = "macs"
    counted = plan_of(tiny.trial(Halved()))
    assert kept_keys(counted) == {counted.trials[0].key}
    assert not any(runs_alone(counted, key) for key in counted.trials[0].chain)


def test_skipped_trials_keep_nothing(tiny, method, plan_of):
    plan = plan_of(tiny.trial(method("snip"), sparsity=0.999))
    assert kept_keys(plan) == set()


# --- jobs


def test_a_job_runs_from_one_kept_state_to_the_next(tiny, method, plan_of):
    plan = plan_of(tiny.trial(method("imp", rewind_to="5it"), sparsity=0.36))
    chain = plan.trials[0].chain
    jobs = missing_jobs(plan, Shelf().has, wanted(plan))
    assert jobs == {
        job.key: job
        for job in (
            Job(chain[:2], frozenset()),
            Job(chain[2:3], frozenset({chain[1]})),
            Job(chain[3:6], frozenset({chain[2], chain[1]})),
            Job(chain[6:9], frozenset({chain[5], chain[1]})),
        )
    }


def test_jobs_cover_every_node_once_when_nothing_is_there(tiny, method, plan_of):
    plan = plan_of(
        *(
            tiny.trial(one, sparsity=sparsity, label=label, **ablation)
            for label, one in {
                "imp": method("imp"),
                "rewound": method("imp", rewind_to="5it"),
                "snip": method("snip"),
                "magnitude": method("magnitude", rounds=2),
            }.items()
            for sparsity in (0.2, 0.5)
            for ablation in ({}, {"shuffle": True}, {"reinitialize": True})
        )
    )
    jobs = missing_jobs(plan, Shelf().has, wanted(plan))
    covered = [key for job in jobs.values() for key in job.path]
    assert sorted(covered) == sorted(plan.nodes)
    assert jobs.keys() == kept_keys(plan)


def test_each_job_follows_its_parent_and_needs_what_it_reads(tiny, method, plan_of):
    plan = plan_of(tiny.trial(method("imp", rewind_to="5it"), shuffle=True), tiny.trial(method("dense"), sparsity=0.0))
    for job in missing_jobs(plan, Shelf().has, wanted(plan)).values():
        nodes = [plan.nodes[key] for key in job.path]
        assert [node.parent for node in nodes[1:]] == list(job.path[:-1])
        read = {nodes[0].parent, *(node.source for node in nodes)} - {None} - set(job.path)
        assert job.needs == read


def test_nothing_is_to_be_done_when_every_end_is_there(tiny, method, plan_of):
    plan = plan_of(tiny.trial(method("imp")), tiny.trial(method("snip")))
    assert missing_jobs(plan, Shelf(wanted(plan)).has, wanted(plan)) == {}
    assert missing_jobs(plan, Shelf(plan.nodes).has, wanted(plan)) == {}


def test_only_what_the_missing_ends_need_is_made(tiny, method, plan_of):
    # All ends but the last level's: two states of the middle are there as well.
    plan = plan_of(*(tiny.trial(method("imp"), sparsity=sparsity) for sparsity in (0.2, 0.36)))
    first, second = (trial.chain for trial in plan.trials)
    jobs = missing_jobs(plan, Shelf([first[-1], first[0]]).has, wanted(plan))
    assert jobs == {second[-1]: Job(second[5:], frozenset({first[-1], first[0]}))}


def test_a_lost_state_in_the_middle_is_made_again_if_and_only_if_it_is_needed(tiny, method, plan_of):
    plan = plan_of(tiny.trial(method("imp"), sparsity=0.36))
    chain = plan.trials[0].chain
    there = {chain[0], chain[4], chain[7]}  # the dense end, chain[1], was lost
    assert missing_jobs(plan, Shelf(there).has, wanted(plan)) == {}
    assert missing_jobs(plan, Shelf(there - {chain[7]}).has, wanted(plan)).keys() == {chain[7]}
    assert missing_jobs(plan, Shelf({chain[0]}).has, wanted(plan)).keys() == {chain[1], chain[4], chain[7]}


def test_a_rewinding_point_that_is_missing_is_made_even_if_the_state_after_it_is_there(tiny, method, plan_of):
    plan = plan_of(tiny.trial(method("imp", rewind_to="5it"), sparsity=0.2))
    start, point, dense, *_, end = plan.trials[0].chain
    jobs = missing_jobs(plan, Shelf({dense}).has, [end])
    assert jobs.keys() == {point, end}
    assert jobs[point].path == (start, point)


def test_only_what_is_wanted_is_made(tiny, method, plan_of):
    plan = plan_of(tiny.trial(method("imp")), tiny.trial(method("snip")))
    jobs = missing_jobs(plan, Shelf().has, [plan.trials[1].key])
    covered = {key for job in jobs.values() for key in job.path}
    assert covered == set(plan.trials[1].chain)


# --- priorities


def test_a_jobs_priority_is_the_length_of_what_waits_for_it(tiny, plan_of):
    prune = Prune(by=tiny.ByChance(), density=0.5)
    stages = (Initialize(), Train("5it"), Train(), prune, Rewind(to="5it"), Train("12it"), Train())
    plan = plan_of(tiny.trial(tiny.Chained(chain=stages)))
    chain = plan.trials[0].chain
    # trainings of 5, 15, 7 and 8 steps, one after the other
    jobs = missing_jobs(plan, Shelf().has, wanted(plan))
    assert priorities(plan, jobs) == {chain[1]: 35, chain[2]: 30, chain[5]: 15, chain[6]: 8}


def test_the_longest_of_several_followers_counts(tiny, method, plan_of):
    plan = plan_of(tiny.trial(method("imp")), tiny.trial(method("magnitude")), tiny.trial(method("snip")))
    jobs = missing_jobs(plan, Shelf().has, wanted(plan))
    order = priorities(plan, jobs)
    ticket, tuned, snip = plan.trials
    assert order[ticket.chain[1]] == 20 + 4 * 20
    assert order[tuned.key] == 5
    assert order[ticket.key] == 20
    assert order[snip.key] == 20
    assert order[ticket.chain[0]] == 100


def test_what_is_there_already_counts_for_nothing(tiny, method, plan_of):
    plan = plan_of(tiny.trial(method("imp"), sparsity=0.36))
    chain = plan.trials[0].chain
    jobs = missing_jobs(plan, Shelf([chain[0], chain[1]]).has, wanted(plan))
    assert priorities(plan, jobs) == {chain[4]: 40, chain[7]: 20}


def test_a_jobs_priority_is_at_least_that_of_whatever_needs_it(tiny, method, plan_of):
    plan = plan_of(*(tiny.trial(method("imp", rewind_to=to), label=to) for to in ("2it", "5it", "11it")))
    jobs = missing_jobs(plan, Shelf().has, wanted(plan))
    order = priorities(plan, jobs)
    for job in jobs.values():
        assert all(order[need] >= order[job.key] for need in job.needs)


# --- what comes next


@pytest.fixture
def agenda_of(tiny, method, plan_of):
    """The agenda of a dense training, a pruning after it, and a pruning at initialization."""
    dense, after, before = (method("dense"), method("magnitude", finetune="1ep"), method("snip"))
    plan = plan_of(tiny.trial(dense, sparsity=0), tiny.trial(after), tiny.trial(before))
    keys = dict(zip(("dense", "after", "before"), wanted(plan), strict=True))
    jobs = missing_jobs(plan, Shelf([plan.trials[0].chain[0]]).has, wanted(plan))
    assert set(jobs) == set(keys.values())
    return lambda running=(): (ReadyQueue(plan, dict(jobs), {keys[name] for name in running}), keys)


def test_what_others_wait_for_longest_comes_first(agenda_of):
    queue, keys = agenda_of()
    assert [queue.take(0), queue.take(0), queue.take(0)] == [keys["dense"], keys["before"], None]
    queue.done(keys["dense"])
    assert queue.take(0) == keys["after"]


def test_what_was_put_off_comes_when_nothing_else_can_and_not_before_it_is_due(agenda_of):
    queue, keys = agenda_of()
    queue.put_off(queue.take(0), until=10)
    assert queue.next_look == 10
    assert queue.take(11) == keys["before"]
    assert queue.take(9) is None
    assert queue.take(10) == keys["dense"]
    assert queue.next_look is None


def test_what_is_dropped_takes_along_all_that_waits_for_it(agenda_of):
    queue, keys = agenda_of()
    assert {job.key for job in queue.drop(keys["dense"])} == {keys["dense"], keys["after"]}
    assert queue.drop(keys["dense"]) == []
    assert set(queue.jobs) == {keys["before"]}
    assert [queue.take(0), queue.take(0)] == [keys["before"], None]


def test_what_runs_already_is_not_given_again(agenda_of):
    queue, keys = agenda_of(running=["dense"])
    assert [queue.take(0), queue.take(0)] == [keys["before"], None]
    queue.done(keys["dense"])
    assert queue.take(0) == keys["after"]

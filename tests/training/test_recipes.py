"""The learning rate of every step, and optimizers by name."""

import math

import pytest
import torch
from torch import nn

from prunebench import Classification
from prunebench.api.errors import SuiteError
from prunebench.api.tasks import Optimizer, Recipe, Schedule
from prunebench.api.times import Clock
from prunebench.training import recipes
from prunebench.training.optimizers import OPTIONS, TORCH, option_errors, options_of
from prunebench.training.recipes import learning_rate, make_optimizer, training_loss

CLOCK = Clock(steps_per_epoch=10, total=100)


def rates(steps, clock=CLOCK, **schedule):
    recipe = Recipe(optimizer=Optimizer(name="sgd", lr=0.8), batch_size=1, steps=100, schedule=Schedule(**schedule))
    return [learning_rate(recipe, clock, step) for step in steps]


def test_a_constant_rate_is_constant():
    assert rates([0, 1, 50, 99]) == [0.8] * 4


def test_warm_up_rises_from_its_first_share_to_the_full_rate_in_its_last_step():
    assert rates(range(6), warmup="4it") == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])


def test_warm_up_in_epochs_lasts_that_many_epochs():
    assert rates([0, 9, 19, 20], warmup="2ep") == pytest.approx([0.04, 0.4, 0.8, 0.8])


def test_multistep_drops_in_the_very_step_of_each_milestone():
    schedule = {"name": "multistep", "milestones": ("5ep", "75%")}
    assert rates([0, 49, 50, 74, 75, 99], **schedule) == pytest.approx([0.8, 0.8, 0.08, 0.08, 0.008, 0.008])


def test_multistep_drops_by_its_own_factor_in_any_order_of_milestones():
    schedule = {"name": "multistep", "milestones": ("80it", "40it"), "gamma": 0.5}
    assert rates([39, 40, 79, 80], **schedule) == pytest.approx([0.8, 0.4, 0.4, 0.2])


def test_milestones_count_from_the_start_and_not_from_the_end_of_the_warm_up():
    schedule = {"name": "multistep", "milestones": ("20it",), "warmup": "10it"}
    assert rates([4, 10, 19, 20], **schedule) == pytest.approx([0.4, 0.8, 0.8, 0.08])


def test_cosine_falls_from_the_full_rate_to_almost_nothing():
    found = rates([0, 25, 50, 75, 99], name="cosine")
    quarter = math.cos(math.pi / 4)
    last = 0.4 * (1 - math.cos(math.pi / 100))
    assert found == pytest.approx([0.8, 0.4 * (1 + quarter), 0.4, 0.4 * (1 - quarter), last])
    assert found[-1] > 0


def test_cosine_begins_after_the_warm_up():
    assert rates([0, 19, 20, 60], name="cosine", warmup="20it") == pytest.approx([0.04, 0.8, 0.8, 0.4])


@pytest.mark.parametrize(
    "schedule",
    [
        {},
        {"name": "cosine"},
        {"name": "multistep", "milestones": ("50it",)},
        {"warmup": "10it"},
        {"name": "cosine", "warmup": "3ep"},
    ],
)
def test_after_the_end_the_rate_stays_at_its_last_value(schedule):
    last, *after = rates([99, 100, 101, 250], **schedule)
    assert after == [last] * 3


def test_a_milestone_at_the_end_is_never_reached_even_by_fine_tuning():
    assert rates([99, 100, 300], name="multistep", milestones=("end",)) == [0.8] * 3


def test_the_rate_of_a_step_is_the_same_whenever_it_is_asked_for():
    there = rates(range(0, 130, 3), name="cosine", warmup="10it")
    back = rates(range(129, -1, -3), name="cosine", warmup="10it")
    assert there == back[::-1]


@pytest.fixture
def parameters():
    return [nn.Parameter(torch.tensor([1.0, -2.0]))]


def stepped(spec, parameters, gradient=(0.5, 0.5), times=1):
    optimizer = make_optimizer(spec, parameters)
    for _ in range(times):
        parameters[0].grad = torch.tensor(gradient)
        optimizer.step()
    return parameters[0].tolist()


def test_sgd_decays_weights_and_remembers_momentum(parameters):
    spec = Optimizer(name="sgd", lr=0.1, momentum=0.5, weight_decay=0.2)
    # gradients with decay 0.7 and 0.1; the second ones 0.5 + 0.2 * 0.93 and 0.5 + 0.2 * -2.01; momentum adds half
    expected = [1 - 0.07 - 0.1 * (0.686 + 0.35), -2 - 0.01 - 0.1 * (0.098 + 0.05)]
    assert stepped(spec, parameters, times=2) == pytest.approx(expected)


def test_nesterov_momentum_looks_ahead(parameters):
    spec = Optimizer(name="sgd", lr=0.1, momentum=0.5, nesterov=True)
    assert stepped(spec, parameters) == pytest.approx([1 - 0.1 * 0.75, -2 - 0.1 * 0.75])


def test_adam_steps_by_the_learning_rate_first_and_adds_decay_to_the_gradient(parameters):
    spec = Optimizer(name="adam", lr=0.1, weight_decay=0.5)
    # gradients with decay: 1.0 and -0.5
    assert stepped(spec, parameters) == pytest.approx([0.9, -1.9])


def test_adamw_decays_the_weights_themselves(parameters):
    spec = Optimizer(name="adamw", lr=0.1, weight_decay=0.5)
    assert stepped(spec, parameters) == pytest.approx([0.95 - 0.1, -1.9 - 0.1])


def test_adam_takes_its_betas_and_epsilon_from_the_recipe(parameters):
    optimizer = make_optimizer(Optimizer(name="adam", lr=0.1, betas=(0.5, 0.75), eps=0.25), parameters)
    assert optimizer.defaults["betas"] == (0.5, 0.75)
    assert optimizer.defaults["eps"] == 0.25


@pytest.mark.slow
def test_other_names_are_looked_up_in_timm(parameters):
    optimizer = make_optimizer(Optimizer(name="lamb", lr=0.1, weight_decay=0.5), parameters)
    assert type(optimizer).__name__ == "Lamb"
    assert (optimizer.defaults["lr"], optimizer.defaults["weight_decay"]) == (0.1, 0.5)


@pytest.mark.slow
def test_an_unknown_optimizer_is_an_error_with_the_nearest_name(parameters):
    with pytest.raises(SuiteError, match="unknown optimizer 'sgdd'; did you mean 'sgd'"):
        make_optimizer(Optimizer(name="sgdd", lr=0.1), parameters)


@pytest.mark.parametrize(
    ("name", "option", "message"),
    [
        ("sgd", {"betas": (0.9, 0.99)}, "sgd has no betas; it has lr, momentum, nesterov, weight_decay"),
        ("sgd", {"eps": 1e-3}, "sgd has no eps"),
        ("adam", {"momentum": 0.9}, "adam has no momentum; it has lr, betas, eps, weight_decay"),
        ("adamw", {"nesterov": True}, "adamw has no nesterov"),
        ("adam", {"betas": (0.9, 0.99, 0.999)}, "adam has 2 betas, not 3"),
    ],
)
def test_an_option_that_an_optimizer_lacks_is_an_error(parameters, name, option, message):
    with pytest.raises(SuiteError, match=message):
        make_optimizer(Optimizer(name=name, lr=0.1, **option), parameters)


def test_what_is_not_given_is_as_torch_has_it(parameters):
    for name, kind in (("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)):
        mine = make_optimizer(Optimizer(name=name, lr=0.1, weight_decay=0.5), parameters).defaults
        theirs = kind(parameters, lr=0.1, weight_decay=0.5, fused=True).defaults
        assert mine == theirs


STRONG = {"momentum": 0.2, "eps": 30.0, "weight_decay": 0.7, "nesterov": None}
"""Values far from any default; of `nesterov` the one that is not the default."""


def trained(name, **options):
    """Where eight steps lead a matrix and a vector."""
    torch.manual_seed(0)
    parameters = [nn.Parameter(torch.randn(4, 6)), nn.Parameter(torch.randn(4))]
    optimizer = make_optimizer(Optimizer(name=name, lr=0.1, **{"weight_decay": 0.05, **options}), parameters)
    gradients = torch.Generator().manual_seed(1)
    for _ in range(8):
        for parameter in parameters:
            parameter.grad = torch.randn(parameter.shape, generator=gradients)
        optimizer.step()
    return torch.cat([parameter.detach().flatten() for parameter in parameters]), optimizer


def far_from(option, optimizer):
    """Values of an option, each of which must lead elsewhere."""
    if option == "nesterov":
        return [not optimizer.defaults["nesterov"]]
    if option == "betas":
        default = tuple(optimizer.defaults["betas"])
        return [(*default[:place], 0.8, *default[place + 1 :]) for place in range(len(default))]
    return [STRONG[option]]


def test_an_optimizer_whose_state_cannot_be_stored_is_an_error_of_the_suite(monkeypatch):
    from timm import optim

    class Listing(torch.optim.SGD):
        """Keeps a list, as Kron does."""

        def step(self, closure=None):
            torch.rand(1)
            for parameter in self.param_groups[0]["params"]:
                self.state[parameter]["factors"] = [parameter.clone()]

    reason = "optimizer 'listing' cannot be used: the optimizer keeps its 'factors' as list, which cannot be saved"
    registry = optim.OptimizerRegistry()
    registry.register(optim.OptimInfo(name="listing", opt_class=Listing, has_eps=False, has_momentum=True))
    registry.register(optim.OptimInfo(name="plain", opt_class=torch.optim.SGD, has_eps=False, has_momentum=True))
    for function in ("list_optimizers", "get_optimizer_info", "get_optimizer_class"):
        monkeypatch.setattr(optim, function, getattr(registry, function))
    monkeypatch.setattr(
        optim, "create_optimizer_v2", lambda weights, opt, lr: registry.get_optimizer_class(opt)(weights, lr=lr)
    )
    before = torch.get_rng_state()
    assert list(option_errors(Optimizer(name="listing", lr=0.1))) == [("name", reason)]
    assert list(option_errors(Optimizer(name="plain", lr=0.1))) == []
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["kron", "kronw"])
def test_kron_is_refused_in_seconds_while_the_suite_is_read(name):
    assert [reason for _, reason in option_errors(Optimizer(name=name, lr=0.1))] == [
        f"optimizer {name!r} cannot be used: the optimizer keeps its 'Q' as list, which cannot be saved"
    ]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_optimizer_of_timm_obeys_every_option_or_refuses_it():
    from timm import optim

    tried = []
    for name in set(optim.list_optimizers()) - TORCH.keys():
        reasons = [reason for _, reason in option_errors(Optimizer(name=name, lr=0.1))]
        if reasons:
            expected = ("is not installed", "needs second derivatives", "cannot be saved")
            assert all(any(words in one for words in expected) for one in reasons), reasons
            continue
        there, optimizer = trained(name)
        tried.append(name)
        for option in OPTIONS:
            if option not in options_of(name):
                value = {"betas": (0.5, 0.6), "nesterov": True}.get(option, 0.5)
                with pytest.raises(SuiteError, match=f"{name} has no {option}; it has lr, "):
                    make_optimizer(Optimizer(name=name, lr=0.1, **{option: value}), [nn.Parameter(torch.zeros(2))])
                continue
            for value in far_from(option, optimizer):
                elsewhere = trained(name, **{option: value})[0]
                assert not torch.equal(there, elsewhere), f"{name} ignores {option} = {value}"
    assert len(tried) > 70


def test_label_smoothing_shares_out_its_part_among_the_classes():
    recipe = Recipe(optimizer=Optimizer(name="sgd", lr=1), batch_size=1, steps=1, label_smoothing=0.3)
    logits = torch.tensor([[1.0, 2.0, 0.5]])
    target = torch.tensor([0.1, 0.8, 0.1])
    expected = -(target * logits.log_softmax(1)).sum()
    assert training_loss(recipe, Classification())(logits, torch.tensor([1])) == pytest.approx(float(expected))


@pytest.mark.parametrize(("train", "steps"), [(60, 4), (64, 4), (65, 5), (15, 1), (16, 1)])
def test_an_epoch_counts_a_ragged_last_batch(train, steps):
    recipe = Recipe(optimizer=Optimizer(name="sgd", lr=1), batch_size=16, epochs=3)
    assert recipe.clock(train) == Clock(steps_per_epoch=steps, total=3 * steps)


def test_validation_examples_are_no_part_of_an_epoch():
    recipe = Recipe(optimizer=Optimizer(name="sgd", lr=1), batch_size=16, steps=7, validation=12)
    assert recipe.clock(60) == Clock(steps_per_epoch=3, total=7)


class Odd(nn.Module):
    """Parameters that fused kernels do not take, beside some that they do."""

    def __init__(self, *odd):
        super().__init__()
        self.plain = nn.Parameter(torch.ones(3))
        for number, parameter in enumerate(odd):
            self.register_parameter(f"odd{number}", parameter)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize(
    ("odd", "fused"),
    [
        (nn.Parameter(torch.ones(2, dtype=torch.float64)), True),
        (nn.Parameter(torch.ones(2, dtype=torch.bfloat16)), True),
        (nn.Parameter(torch.ones(2, dtype=torch.complex64)), False),
        (nn.Parameter(torch.ones(2, dtype=torch.int64), requires_grad=False), False),
        (nn.Parameter(torch.eye(2).to_sparse()), False),
    ],
    ids=["float64", "bfloat16", "complex64", "int64", "sparse"],
)
def test_parameters_that_fused_kernels_refuse_get_the_same_steps_without_them(name, odd, fused):
    module = Odd(nn.Parameter(odd.detach().clone(), requires_grad=odd.requires_grad))
    spec = Optimizer(name=name, lr=0.1, weight_decay=0.0 if odd.layout != torch.strided else 0.1)
    optimizer = make_optimizer(spec, module.parameters())
    assert bool(optimizer.param_groups[0]["fused"]) is fused
    plain = Odd()
    expected = recipes.TORCH[name](plain.parameters(), lr=0.1, weight_decay=spec.weight_decay)
    for one, step in ((module, optimizer), (plain, expected)):
        for _ in range(3):
            step.zero_grad()
            loss = one.plain.square().sum()
            if one is module and odd.requires_grad and odd.layout == torch.strided:
                loss = loss + module.odd0.abs().square().sum().float()
            loss.backward()
            step.step()
    torch.testing.assert_close(module.plain, plain.plain)
    moved = not torch.equal(module.odd0.detach().to_dense(), odd.detach().to_dense())
    assert moved == (odd.requires_grad and odd.layout == torch.strided)


def test_sparse_gradients_get_the_optimizer_without_fused_kernels():
    weight = nn.Parameter(torch.ones(4, 2))
    assert not make_optimizer(Optimizer(name="sgd", lr=0.1), [weight], dense_gradients=False).param_groups[0]["fused"]


def test_linear_falls_to_nothing_at_the_end_of_the_recipe():
    assert rates([0, 25, 50, 99, 100, 150], name="linear") == pytest.approx([0.8, 0.6, 0.4, 0.008, 0.008, 0.008])
    assert rates([0, 9, 10, 55, 99], name="linear", warmup="1ep") == pytest.approx([0.08, 0.8, 0.8, 0.4, 0.8 / 90])


@pytest.mark.parametrize(("total", "share"), [(100, 0.3), (10, 0.5), (40, 0.25), (1000, 0.1), (20, 0.9)])
@pytest.mark.parametrize(("initial", "final"), [(0.04, 4e-6), (0.1, 0.001), (1.0, 1.0)])
def test_one_cycle_is_torchs_own(total, share, initial, final):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=0.8,
        total_steps=total,
        pct_start=share,
        div_factor=1 / initial,
        final_div_factor=initial / final,
        cycle_momentum=False,
    )
    expected = []
    for _ in range(total):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(expected) < total:
            theirs.step()
    given = {"peak": f"{100 * share:g}%", "initial": initial, "final": final}
    found = rates(range(total), Clock(10, total), name="one-cycle", **given)
    assert found == pytest.approx(expected, rel=1e-9, abs=1e-12)
    assert rates([total + 5], Clock(10, total), name="one-cycle", **given) == pytest.approx([0.8 * final])


def test_one_cycle_by_hand():
    """Eleven steps with the peak in the fifth: a quarter up is 0.04 + 0.96 (1 - cos(pi / 4)) / 2 of the rate."""
    found = rates(range(11), Clock(10, 11), name="one-cycle", peak="5it", initial=0.04, final=0.1)
    quarter = 0.04 + 0.96 * (1 - math.cos(math.pi / 4)) / 2
    assert [found[0], found[1], found[2], found[4], found[10]] == pytest.approx(
        [0.8 * share for share in (0.04, quarter, 0.52, 1.0, 0.1)]
    )
    assert found[7] == pytest.approx(0.8 * 0.55)


@pytest.mark.parametrize("peak", ["0it", "1it"])
def test_one_cycle_may_begin_at_its_peak(peak):
    found = rates(range(11), Clock(10, 11), name="one-cycle", peak=peak, final=0.1)
    assert (found[0], found[5], found[10]) == pytest.approx((0.8, 0.8 * 0.55, 0.08))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"name": "one-cycle", "warmup": "1ep"}, "the one-cycle schedule has no warmup"),
        ({"name": "cosine", "peak": "1ep"}, "peak, initial and final belong to the one-cycle schedule"),
        ({"name": "linear", "final": 0.1}, "peak, initial and final belong to the one-cycle schedule"),
        ({"name": "one-cycle", "peak": "5epp"}, "is not a time"),
    ],
)
def test_schedules_refuse_what_belongs_to_others(given, said):
    with pytest.raises(ValueError, match=said):
        Schedule(**given)

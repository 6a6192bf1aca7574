"""Optimizers of other installed distributions: what they are, and which code is refused."""

import sys
from importlib import metadata

import pytest
import torch
from torch import nn

from prunebench import Prune, Train
from prunebench.api.errors import SuiteError
from prunebench.api.tasks import Optimizer
from prunebench.plan.planning import protocol
from prunebench.training import installed_optimizers, optimizers, recipes
from prunebench.training.installed_optimizers import optimizer_class, version_of
from prunebench.training.optimizers import option_errors, options_of
from prunebench.training.recipes import make_optimizer, resolved_options

CODE = '''
import torch


class Signed(torch.optim.Optimizer):
    """Steps by the sign of a running mean of the gradients."""

    def __init__(self, params, lr=0.1, momentum=0.5):
        super().__init__(params, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            for one in group["params"]:
                mean = self.state[one].setdefault("mean", torch.zeros_like(one))
                mean.mul_(group["momentum"]).add_(one.grad)
                one.sub_(group["lr"] * mean.sign())


class Closed(Signed):
    def step(self, closure):
        closure()


class Listing(Signed):
    def step(self, closure=None):
        for one in self.param_groups[0]["params"]:
            self.state[one]["all"] = [one.clone()]


class Rateless(torch.optim.SGD):
    def __init__(self, params):
        super().__init__(params, 0.1)


def function(params, lr):
    return Signed(params, lr)
'''


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A folder on the path with the distribution `fine-steps`, whose module is `fine_steps_of_tests`."""
    site = tmp_path / "site"
    about = site / "fine_steps-1.5.dist-info"
    about.mkdir(parents=True)
    (site / "fine_steps_of_tests.py").write_text(CODE, "utf-8")
    (site / "stranger_of_tests.py").write_text("raise SystemExit('it ran')", "utf-8")
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: fine-steps\nVersion: 1.5\n", "utf-8")
    (about / "RECORD").write_text("fine_steps_of_tests.py,,\nfine_steps-1.5.dist-info/METADATA,,\n", "utf-8")
    monkeypatch.syspath_prepend(str(site))
    caches = (optimizer_class, optimizers._unusable_path, optimizers.options_of, recipes.resolved_options)
    for one in caches:
        one.cache_clear()
    yield site
    for one in caches:
        one.cache_clear()
    sys.modules.pop("fine_steps_of_tests", None)


def named(cls, **options):
    return Optimizer(name=f"fine-steps:fine_steps_of_tests.{cls}", lr=0.1, **options)


def reasons(name):
    return [reason for _, reason in option_errors(Optimizer(name=name, lr=0.1))]


def test_it_steps_with_the_options_of_the_recipe(installed):
    assert reasons("fine-steps:fine_steps_of_tests.Signed") == []
    assert options_of("fine-steps:fine_steps_of_tests.Signed") == {"momentum"}
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    optimizer = make_optimizer(named("Signed", momentum=0.25), [weight])
    for gradient in ([1.0, -1.0], [-0.1, -1.0]):  # the running mean keeps its sign: 0.25 - 0.1 is above 0
        weight.grad = torch.tensor(gradient)
        optimizer.step()
    assert weight.tolist() == pytest.approx([0.8, -1.8])


def test_masks_hold_and_a_training_in_two_parts_is_that_in_one(installed, tiny, run_stages):
    prune = Prune(by=tiny.ByChance(), density=0.5)
    whole = run_stages(tiny.task(optimizer=named("Signed")), prune, Train()).end
    parts = run_stages(tiny.task(optimizer=named("Signed")), prune, Train(until="7it"), Train()).end
    assert {name.partition("/")[0] for name in whole.optimizer} == {"mean"}
    for name, value in whole.parameters.items():
        assert torch.equal(value, parts.parameters[name])
    for name, mask in whole.masks.items():
        assert not bool(whole.parameters[name][~mask].any())


def test_keys_have_the_version_of_the_distribution_and_its_defaults(installed, tiny, monkeypatch):
    assert resolved_options(named("Signed")) == {"momentum": 0.5, "distribution": "fine-steps 1.5"}
    before = protocol(tiny.task(optimizer=named("Signed")), "")
    monkeypatch.setattr(recipes, "version_of", lambda name: "fine-steps 1.6")
    resolved_options.cache_clear()
    assert protocol(tiny.task(optimizer=named("Signed")), "") != before
    assert version_of("fine-steps:fine_steps_of_tests.Signed") == "fine-steps 1.5"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fine-steps:", "'fine-steps:' is not DISTRIBUTION:module.Class, such as lion-pytorch:lion_pytorch.Lion"),
        ("fine-steps:Signed", "is not DISTRIBUTION:module.Class"),
        ("fine-steps:fine_steps_of_tests.Signed()", "is not DISTRIBUTION:module.Class"),
        ("no-such-thing:fine_steps_of_tests.Signed", "the distribution 'no-such-thing' is not installed"),
        ("fine-steps:os.system", "'os' is not a module of the distribution 'fine-steps'"),
        ("fine-steps:stranger_of_tests.X", "'stranger_of_tests' is not a module of the distribution 'fine-steps'"),
        ("fine-steps:fine_steps_of_tests.Missing", "has no optimizer 'Missing': it must be a torch.optim.Optimizer"),
        ("fine-steps:fine_steps_of_tests.function", "has no optimizer 'function'"),
        ("fine-steps:fine_steps_of_tests.torch", "has no optimizer 'torch'"),
        ("fine-steps:fine_steps_of_tests.more.X", "fine_steps_of_tests.more of fine-steps cannot be imported: Module"),
        ("fine-steps:fine_steps_of_tests.Closed", "cannot make a step as others do: TypeError"),
        ("fine-steps:fine_steps_of_tests.Listing", "the optimizer keeps its 'all' as list, which cannot be saved"),
        ("fine-steps:fine_steps_of_tests.Rateless", "has no parameter `lr`, which schedules set"),
    ],
)
def test_what_is_no_optimizer_of_an_installed_distribution_is_refused_in_one_sentence(installed, name, said):
    [reason] = reasons(name)
    assert said in reason
    assert "\n" not in reason
    with pytest.raises(SuiteError):
        make_optimizer(Optimizer(name=name, lr=0.1), [nn.Parameter(torch.zeros(2))])


def test_a_module_that_lies_in_front_of_the_installed_one_is_never_imported(installed, tmp_path, monkeypatch):
    (tmp_path / "cwd").mkdir()
    (tmp_path / "cwd" / "fine_steps_of_tests.py").write_text("raise SystemExit('it ran')", "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "cwd"))
    [reason] = reasons("fine-steps:fine_steps_of_tests.Signed")
    assert "Python would import 'fine_steps_of_tests' from elsewhere than the distribution 'fine-steps'" in reason
    assert "fine_steps_of_tests" not in sys.modules


@pytest.mark.parametrize("option", ["nesterov", "betas", "eps", "weight_decay"])
def test_an_option_that_it_lacks_is_an_error(installed, option):
    value = {"betas": (0.5, 0.6), "nesterov": True}.get(option, 0.5)
    spec = named("Signed", **{option: value})
    assert [key for key, _ in option_errors(spec)] == [option]


def test_a_class_of_torch_is_one_too():
    name = "torch:torch.optim.RAdam"
    assert reasons(name) == []
    assert options_of(name) == {"betas", "eps", "weight_decay"}
    assert resolved_options(Optimizer(name=name, lr=0.1))["distribution"] == f"torch {metadata.version('torch')}"
    assert installed_optimizers.is_path(name)


def test_the_wrong_number_of_betas_is_told(installed):
    spec = Optimizer(name="torch:torch.optim.RAdam", lr=0.1, betas=(0.9, 0.9, 0.9))
    assert list(option_errors(spec)) == [("betas", "torch:torch.optim.RAdam has 2 betas, not 3")]

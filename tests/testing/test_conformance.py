"""The conformance kit: every built-in method passes it, and each kind of broken method is caught by the right check."""

import dataclasses
import inspect
import math
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

import prunebench
import prunebench.testing
from prunebench import Initialize, Prune, Train
from prunebench.api import plugins
from prunebench.api.components import Interface, Preset
from prunebench.api.errors import PluginError, Unreachable
from prunebench.api.tasks import Task
from prunebench.network.profiles import profile
from prunebench.suite.descriptions import parameters
from prunebench.testing import CHECKS, NETWORKS, Nonconformity, NotApplicable, checks, conformance
from prunebench.testing.harness import Case, Harness, performed, raised
from prunebench.testing.spies import SpiedUpdater, Spy

METHODS = [
    name
    for name, cls in sorted(plugins.load().components["method"].items())
    if not any(one.required for one in parameters(cls))  # what needs a file conforms in tests of its own
]
QUICK = ("dense", "random", "nm")
"""One of each kind of chain: no mask, one by scores, one by a structure; the others are slow."""
MLP, CONV, VIT, GAPS, SHARED, LANGUAGE, REGRESSION = NETWORKS
LONG = (
    *("depgraph", "edge-popup", "gradual", "head-importance", "imp", "int8", "l1-filters", "l2-filters"),
    *("lamp-channels", "lr-rewinding", "masklora", "movement", "obc", "obd-channels", "random-channels"),
    *("rigl", "set", "slimming", "snfs", "sr-ste", "ste", "synflow", "taylor-channels", "woodfisher-gradual"),
)
"""Methods that train for long, or prune in many rounds: each is checked on the plain networks and on one more."""
FEW = {"gradients": 8, "passes": 2, "starts": 2}
"""In the place of a method's own numbers, of which its check needs minutes."""


def methods():
    return [pytest.param(name, marks=[] if name in QUICK else pytest.mark.slow) for name in METHODS]


def networks_of(name):
    return [MLP, CONV, NETWORKS[2 + LONG.index(name) % (len(NETWORKS) - 2)]] if name in LONG else NETWORKS


@pytest.mark.parametrize("name", methods())
def test_a_built_in_method_conforms(method, name):
    few = {one.name: FEW[one.name] for one in parameters(type(method(name))) if one.name in FEW}
    report = conformance(method(name, **few), networks=networks_of(name))
    assert report.ok, str(report)
    assert report.details("warned") == []


def test_a_method_whose_masks_change_conforms_on_the_smallest_network(method):
    report = conformance(method("set"), networks=[MLP])  # on all of them with the slow tests
    assert report.ok, str(report)
    assert report.details("warned") == []


CHEAP = {"listing", "reach", "chain", "scores", "cost", "globals", "context"}
"""Checks that look at one run which they share, tried on every broken method: most of them must pass."""


def failed(report):
    return {finding.check for finding in report.findings if finding.status == "failed"}


def details(report, check):
    return "\n".join(finding.detail for finding in report.findings if finding.check == check)


class Sound(prunebench.Method):
    """Keep the largest weights."""

    name = "sound"
    reference = "None 2026"

    def scores(self, scoring):
        return {name: weight.abs() for name, weight in scoring.weights.items()}


def test_a_method_of_one_function_conforms_and_nothing_is_skipped_but_the_gpu():
    report = conformance(Sound)
    assert report.ok, str(report)
    skipped = {finding.check for finding in report.findings if finding.status == "skipped"}
    assert skipped <= {"devices"}


class Global(Sound):
    """Draws from the global generator."""

    exempt = {"inversion": "random"}

    def scores(self, scoring):
        return {layer.name: torch.rand(layer.shape) for layer in scoring.layers}


class Numpy(Global):
    """Draws from numpy's global generator."""

    def scores(self, scoring):
        return {layer.name: torch.from_numpy(np.random.rand(*layer.shape)) for layer in scoring.layers}


class OneSeed(Global):
    """Draws the same for every seed."""

    def scores(self, scoring):
        generator = torch.Generator().manual_seed(0)
        return {layer.name: torch.rand(layer.shape, generator=generator) for layer in scoring.layers}


class Unseeded(Global):
    """Draws something else each time."""

    def scores(self, scoring):
        generator = torch.Generator()
        generator.seed()
        return {layer.name: torch.rand(layer.shape, generator=generator) for layer in scoring.layers}


class Counting(Global):
    """Remembers on itself how often it was called."""

    def scores(self, scoring):
        object.__setattr__(self, "calls", getattr(self, "calls", 0) + 1)
        generator = torch.Generator().manual_seed(scoring.seed + self.calls)
        return {layer.name: torch.rand(layer.shape, generator=generator) for layer in scoring.layers}


class GradOff(Sound):
    """Leaves gradients off."""

    def scores(self, scoring):
        torch.set_grad_enabled(False)
        return super().scores(scoring)


class Double(Sound):
    """Leaves another default dtype."""

    def scores(self, scoring):
        torch.set_default_dtype(torch.float64)
        return super().scores(scoring)


class Threads(Sound):
    """Takes another thread."""

    def scores(self, scoring):
        torch.set_num_threads(torch.get_num_threads() + 1)
        return super().scores(scoring)


class NaN(Sound):
    """Divides zero by zero."""

    def scores(self, scoring):
        return {name: weight / torch.zeros_like(weight) for name, weight in scoring.weights.items()}


class Shapeless(Sound):
    """One score an output."""

    def scores(self, scoring):
        return {name: weight.abs().flatten(1).sum(1) for name, weight in scoring.weights.items()}


class Incomplete(Sound):
    """Forgets the first layer."""

    def scores(self, scoring):
        return dict(list(super().scores(scoring).items())[1:])


class Nothing(Sound):
    """Forgets to return."""

    def scores(self, scoring):
        pass


class Masking(Sound):
    """Changes the masks that it is given."""

    def scores(self, scoring):
        for mask in scoring.masks.values():
            mask.fill_(False)
        return super().scores(scoring)


class Staining(Sound):
    """Changes the data set."""

    def scores(self, scoring):
        scoring.open_data().train.inputs.zero_()
        return super().scores(scoring)


class Free(Sound):
    """Runs the network, and says that it costs nothing."""

    def scores(self, scoring):
        with scoring.mode("eval") as model:
            ((inputs, labels),) = scoring.batches(1, 128)
            gradients = scoring.gradients(cross_entropy(model(inputs), labels))
        return {name: (weight * gradients[name]).abs() for name, weight in scoring.weights.items()}


class Cheap(Free):
    """Declares one example of the batch."""

    def scoring_flops(self, network, density):
        return 3 * network.flops


class Negative(Sound):
    """Earns FLOPs."""

    def scoring_flops(self, network, density):
        return -1.0


class Inverted(Sound):
    """Keeps the smallest weights."""

    def scores(self, scoring):
        return {name: -score for name, score in super().scores(scoring).items()}


class Half(Sound):
    """Mistakes the sparsity for the density."""

    def stages(self, trial):
        yield Initialize()
        yield Prune(by=self, density=trial.sparsity)
        yield Train()


class Headless(Sound):
    """Trains what is not there."""

    def stages(self, trial):
        yield Train()


class Words(Sound):
    """Says what is to be done."""

    def stages(self, trial):
        yield Initialize()
        yield "prune"


class Unyielding(Sound):
    """Forgets to yield."""

    def stages(self, trial):
        return None


class Fickle(Sound):
    """Another chain each time."""

    lengths = iter(range(1000))

    def stages(self, trial):
        yield Initialize()
        yield Prune(by=self, density=trial.density, rounds=1 + next(self.lengths))
        yield Train()


class Raising(Sound):
    """Raises."""

    def scores(self, scoring):
        return self.divided(scoring)

    def divided(self, scoring):
        raise ZeroDivisionError("no luck")


class Loose(Sound):
    """Has a parameter that no key has."""

    strength: dataclasses.InitVar[float] = 1.0

    def __post_init__(self, strength):
        object.__setattr__(self, "power", strength)

    def scores(self, scoring):
        return {name: score**self.power for name, score in super().scores(scoring).items()}


class Unequal(Sound):
    """Has a parameter that two stages need not agree in to be equal."""

    power: float = dataclasses.field(default=1.0, compare=False)

    def scores(self, scoring):
        return {name: (score - self.power * score.mean()).abs() for name, score in super().scores(scoring).items()}


class Useless(Sound):
    """Has a parameter that is for nothing."""

    power: float = dataclasses.field(default=1.0, compare=False)


class Unwritable(Sound):
    """Has a parameter that JSON has no word for."""

    power: complex = 1j


class Far(Sound):
    """Reaches nothing."""

    def stages(self, trial):
        raise Unreachable("there is always something more important")


class Later(Sound):
    """Reaches nothing, and finds out late."""

    def scores(self, scoring):
        raise Unreachable("there is always something more important")


class Gratis(Sound):
    """Forgets to return."""

    def scoring_flops(self, network, density):
        pass


class Bare(prunebench.Method):
    name = "bare"


class Preset99(Sound):
    """Has a preset of a parameter that it lacks."""

    presets = {"fast": Preset("nobody", {"speed": 2})}


class Steady(prunebench.Method):
    """Keeps the largest weights, and every ten steps the largest again."""

    name = "steady"
    reference = "None 2026"
    rule = prunebench.Updater

    def updater(self, density):
        return self.rule()

    def stages(self, trial):
        yield Initialize()
        yield Prune(by=Sound(), density=trial.density)
        yield Train(by=self)


class Again(prunebench.Updater):
    """Sets the same masks again."""

    def after_step(self, training):
        if training.step % 10 == 9:
            training.set_masks(training.masks)


def steady(rule_of):
    """A method with this updater."""
    return type(f"{rule_of.__name__}Rule", (Steady,), {"rule": rule_of, "__doc__": rule_of.__doc__})


def test_a_method_with_an_updater_conforms():
    report = conformance(steady(Again), networks=[MLP])
    assert report.ok, str(report)
    assert report.details("warned") == []


class Reviving(Again):
    """Gives every weight a push after the masks were enforced."""

    def after_step(self, training):
        with torch.no_grad():
            for weight in training.weights.values():
                weight.add_(1e-3)


class Forgetful(Again):
    """Keeps a running mean on itself."""

    means = None

    def after_backward(self, training):
        found = {name: weight.grad.abs() for name, weight in training.weights.items()}
        self.means = found if self.means is None else {name: self.means[name] + found[name] for name in found}
        return False

    def after_step(self, training):
        if training.step == 90:
            kept = sum(int(mask.sum()) for mask in training.masks.values())
            training.keep_highest(self.means, kept / training.network.size)


class Hooked(Again):
    """Leaves a hook on the network, which another process does not have."""

    def begin(self, training):
        training.model.register_forward_hook(lambda module, inputs, logits: logits * 0.9)


class Underpaid(Again):
    """Declares a tenth of what a step costs."""

    def flops(self, training):
        return 0.3 * training.sparse_flops


class Scratching(Again):
    """Writes into the masks."""

    def after_step(self, training):
        for mask in training.masks.values():
            mask[0] = True


class Drawing(Again):
    """Draws from the global generator."""

    def begin(self, training):
        training.memory["noise"] = torch.rand(3)


class Talkative(Again):
    """Remembers words."""

    def begin(self, training):
        training.memory["motto"] = "more is less"


class Speechless(Again):
    """Forgets to return."""

    def flops(self, training):
        pass


class Idle(prunebench.Updater):
    """Waits for a step that never comes."""

    def after_step(self, training):
        if training.step == 10_000:
            training.set_masks(training.masks)


class Sentence(Again):
    """Is no updater."""

    def __new__(cls):
        return "no updater"


@pytest.mark.parametrize(
    ("rule", "found", "words"),
    [
        (Reviving, {"zeros", "density", "excluded"}, "pruned weights of '1.weight' are not zero in a pass (under sgd)"),
        (Forgetful, {"resume"}, "what an updater remembers belongs into training.memory"),
        (Hooked, {"resume"}, "a training that stops and goes on comes out otherwise"),
        (Underpaid, {"cost"}, "a step is at least 2 * training.sparse_flops"),
        (Scratching, {"context", "density", "excluded", "resume"}, "after_step changed training.masks in place"),
        (Drawing, {"order", "globals"}, "begin changed torch's global generator"),
        (Talkative, {"chain"}, "training.memory['motto'] must be a tensor, and is 'more is less'"),
        (Speechless, {"chain"}, "flops of the updater must return a number, and returned None"),
        (Sentence, {"chain"}, "updater of method 'steady' must return a prunebench.Updater, and returned 'no updater'"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_broken_updater_is_caught(rule, found, words):
    report = conformance(steady(rule), networks=[MLP], only=found | CHEAP)
    assert failed(report) == found
    assert words in "\n".join(details(report, check) for check in found)


def test_an_updater_that_never_updates_is_warned_of():
    report = conformance(steady(Idle), networks=[MLP], only={"chain"})
    assert report.ok
    assert "its updater set no masks in 140 steps" in details(report, "chain")


@pytest.mark.parametrize(
    ("broken", "found", "words"),
    [
        (Global, {"order", "globals"}, "scores changed torch's global generator"),
        (Numpy, {"order", "globals"}, "scores changed numpy's global generator"),
        (OneSeed, {"seeds"}, "the masks of seeds 0 and 1 are the same"),
        (Unseeded, {"seeds", "order", "resume"}, "masks of"),
        (Counting, {"seeds", "order", "context"}, "the method itself was changed"),
        (GradOff, {"globals"}, "scores changed torch's grad mode"),
        (Double, {"globals"}, "scores changed torch's default dtype"),
        (Threads, {"globals"}, "scores changed torch's number of threads"),
        (NaN, {"scores"}, "the scores of '1.weight' are not all finite"),
        (Shapeless, {"scores"}, "have shape (32,), not (32, 192)"),
        (Incomplete, {"scores"}, "scores returned nothing for '1.weight'"),
        (Nothing, {"scores"}, "scores returned NoneType, not a dict of tensors"),
        (Masking, {"context"}, "scores changed scoring.masks in place"),
        (Staining, {"context", "resume", "inversion"}, "the train examples were changed in place"),
        (Free, {"cost"}, "scores runs the network, and scoring_flops declares nothing"),
        (Cheap, {"cost"}, "and scoring_flops declares 40,320"),
        (Negative, {"cost"}, "it must be finite and not negative"),
        (Inverted, {"inversion"}, "when the worst are kept"),
        (Half, {"density"}, "weights are kept at sparsity 0.75"),
        (Headless, {"chain"}, "a chain begins with Initialize"),
        (Words, {"chain"}, "a chain is made of stages, such as prunebench.Train(), and not of 'prune'"),
        (Unyielding, {"chain"}, "must yield stages, and returned None"),
        (Fickle, {"chain"}, "another chain"),
        (Raising, {"chain"}, "ZeroDivisionError: no luck"),
        (Loose, {"parameters"}, "'power' is an attribute of the method and not a parameter"),
        (Unequal, {"parameters"}, "parameter 'power' changes results, and is in no key: masks of"),
        (Unwritable, {"parameters", "chain"}, "cannot be written to JSON"),
        (Far, {"reach"}, "nothing could be run: none of 0.5, 0.75, 0.9, 0.95, 0.99 can be reached"),
        (Later, {"reach"}, "can be reached: there is always something more important"),
        (Gratis, {"chain"}, "scoring_flops of method 'sound' must return a number, and returned None"),
        (Bare, {"chain"}, "method 'bare' has no scores"),
        (Preset99, {"listing"}, "preset 'fast' has values that the parameters do not allow"),
    ],
    ids=lambda value: value.__name__ if isinstance(value, type) else "",
)
def test_a_broken_method_is_caught(broken, found, words):
    report = conformance(broken, networks=[MLP], only=found | CHEAP)
    assert failed(report) == found
    assert words in "\n".join(details(report, check) for check in found)
    assert not report.ok


def test_the_authors_own_lines_are_shown_and_no_others():
    lines = details(conformance(Raising, networks=[MLP], only={"chain"}), "chain").splitlines()
    first = inspect.getsourcelines(Raising)[1]
    assert lines == [
        "ZeroDivisionError: no luck",
        f"  test_conformance.py:{first + 4}, in scores: return self.divided(scoring)",
        f'  test_conformance.py:{first + 7}, in divided: raise ZeroDivisionError("no luck")',
    ]


def test_an_error_while_planning_shows_them_too():
    class Planless(Sound):
        """Raises."""

        def stages(self, trial):
            raise KeyError("rate")
            yield

    (error, line) = details(conformance(Planless, networks=[MLP], only={"chain"}), "chain").splitlines()
    assert error.startswith(
        "testing/method/0.5/0: stages of method 'sound' raised KeyError: 'rate' (test_conformance.py:"
    )
    assert line.endswith('in stages: raise KeyError("rate")')


def test_what_hangs_together_is_skipped_and_not_failed_again():
    report = conformance(Raising, networks=[MLP])
    assert {details(report, check) for check in ("density", "zeros", "resume", "inversion")} == {
        "its chain does not run: see chain and scores"
    }


def test_the_process_is_left_as_it_was():
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    for broken in (Global, GradOff, Double, Threads, Raising):
        conformance(broken, networks=[MLP], only={"globals"})
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32
    assert torch.get_num_threads() == threads


def test_a_useless_parameter_and_what_a_listing_lacks_are_warned_of():
    class Terse(Useless):
        reference = ""

    report = conformance(Terse, networks=[MLP], only={"parameters", "listing"})
    assert report.ok
    assert "parameter 'power' changes nothing here" in details(report, "parameters")
    assert "the class has no docstring" in details(report, "listing")
    assert "it names no paper" in details(report, "listing")
    assert "parameter 'power' has no text" in details(report, "listing")


def test_a_method_may_be_exempt_from_a_check_with_a_reason():
    class Backwards(Inverted):
        """Keeps the smallest weights on purpose."""

        exempt = {"inversion": "it is a control"}

    report = conformance(Backwards, networks=[MLP], only={"inversion", "scores"})
    assert report.ok
    assert details(report, "inversion") == "exempt: it is a control"


def test_an_exemption_from_no_check_is_an_error():
    with pytest.raises(PluginError, match=r"'sound' is exempt from 'inversoin'; the checks are listing, "):
        checks(type("Backwards", (Sound,), {"exempt": {"inversoin": "a control"}}))


def test_a_method_that_is_exempt_from_everything_was_not_checked():
    report = conformance(type("Shy", (Sound,), {"exempt": dict.fromkeys(CHECKS, "shy")}), networks=[MLP])
    assert not report.ok
    assert report.summary.startswith("sound: nothing could be run: ")


def test_only_the_checks_that_are_named_are_run():
    report = conformance(Inverted, networks=[MLP], only=["scores", "listing"])
    assert [(finding.check, finding.network) for finding in report.findings] == [("listing", ""), ("scores", "mlp")]
    assert report.ok
    assert not conformance(Inverted, networks=[MLP], only=["inversion"]).ok
    assert conformance(Sound, networks=[MLP], only=["listing"]).ok
    assert not conformance(Sound, networks=[MLP], only=[]).ok


@pytest.mark.parametrize("name", ["score", "", "inversion-mlp"])
def test_a_check_that_does_not_exist_is_an_error(name):
    with pytest.raises(PluginError, match=f"there is no check '{name}'.*the checks are listing, "):
        conformance(Sound, only=["listing", name])


def test_each_check_catches_a_broken_method():
    tests = (test_a_broken_updater_is_caught, test_a_broken_method_is_caught)
    caught = {check for test in tests for mark in test.pytestmark for _, found, _ in mark.args[1] for check in found}
    assert caught == CHECKS.keys() - {"devices", "deploy"}  # which need a GPU, and a method that delivers


def test_without_a_network_nothing_could_be_run():
    assert not conformance(Sound, networks=[]).ok


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (Task, "is not a prunebench.Method"),
        (type("Needy", (Sound,), {"__annotations__": {"rate": float}}), "Needy cannot be made with its defaults"),
        (type("Nameless", (prunebench.Method,), {}), "Nameless has no name"),
    ],
)
def test_what_cannot_be_checked_at_all_is_an_error(method, words):
    with pytest.raises(PluginError, match=words):
        checks(method)


def test_a_check_is_called_by_its_name_and_its_network():
    found = [str(check) for check in checks(Sound)]
    assert found[:6] == ["listing", "parameters", "reach", "chain-mlp", "chain-conv", "chain-vit"]
    assert "inversion-mlp" in found
    assert "deploy-mlp" not in found
    assert "deploy-mlp" in map(str, checks(plugins.load().find("method", "int8")[0]))


def test_a_check_raises_what_pytest_understands():
    by_name = {str(check): check for check in checks(NaN, networks=[MLP])}
    with pytest.raises(Nonconformity, match="not all finite") as failure:
        by_name["scores-mlp"]()
    assert isinstance(failure.value, AssertionError)
    with pytest.raises(NotApplicable, match="see scores"):
        by_name["chain-mlp"]()


def test_a_plugins_own_test_is_a_parametrization(tmp_path):
    source = "import prunebench\n" + inspect.getsource(Sound) + inspect.getsource(Raising) + EXAMPLE
    (tmp_path / "test_mine.py").write_text(source, "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]", "utf-8")
    done = subprocess.run([sys.executable, "-m", "pytest", "-q"], cwd=tmp_path, capture_output=True, text=True)
    assert "FAILED test_mine.py::test_raising[chain-mlp]" in done.stdout
    assert "in divided: raise ZeroDivisionError" in done.stdout
    assert "prunebench/execution" not in done.stdout
    assert re.search(r"\n1 failed, \d+ passed, \d+ skipped in ", done.stdout)


EXAMPLE = """
import pytest
import prunebench.testing
SMALL = prunebench.testing.NETWORKS[:1]

@pytest.mark.parametrize("check", prunebench.testing.checks(Sound, SMALL), ids=str)
def test_sound(check):
    check()

@pytest.mark.parametrize("check", prunebench.testing.checks(Raising(), SMALL), ids=str)
def test_raising(check):
    check()
"""


def test_the_networks_are_those_that_methods_stumble_over():
    layers = {network.name: network.build((3, 8, 8), 4) for network in NETWORKS[:5]}
    convolutions = [one for one in layers["conv"].modules() if isinstance(one, torch.nn.Conv2d)]
    assert {one.groups for one in convolutions} == {1, 4, 16}
    assert any(isinstance(one, torch.nn.BatchNorm2d) for one in layers["conv"].modules())
    assert any(isinstance(one, torch.nn.LayerNorm) for one in layers["vit"].modules())
    torch.manual_seed(0)
    gaps = layers["gaps"]
    loss = cross_entropy(gaps(torch.randn(8, 3, 8, 8)), torch.arange(8) % 4)
    loss.backward()
    gradients = {name: weight.grad for name, weight in gaps.named_parameters() if weight.dim() == 2}
    assert (
        sum(weight.numel() for weight in gaps.parameters() if weight.dim() == 2)
        == 48 * 32 + 2 * 32**2 + 32 * 128 + 128 * 4
    )
    assert [name for name, gradient in gradients.items() if gradient is None] == ["frozen.weight", "unused.weight"]
    assert [name for name, gradient in gradients.items() if gradient is not None and not gradient.any()] == [
        "inner.weight"
    ]
    shared = layers[SHARED.name]
    assert shared.first.weight is shared.second.weight
    assert torch.nn.utils.parametrize.is_parametrized(shared.normalized, "weight")
    # Layers that no module's forward pass tells of: four weights, and five multiplications.
    found = profile(SHARED, Interface.of_images((3, 8, 8), 4))
    assert [found.flops[name] for name in found.prunable] == [12288, 2 * 2048, 2048, 256]


UNTRAINED = [(LANGUAGE, math.log(16)), (REGRESSION, 2.5)]


@pytest.mark.parametrize(("network", "untrained"), UNTRAINED, ids=["tokens", "numbers"])
def test_a_language_and_a_regression_are_learnt(network, untrained):
    run = raised(performed(Harness(Sound(), [network]).trial(Case(network=network, sparsity=0.5, steps=140))))
    assert run.end.history[-1]["test_loss"] < 0.8 * untrained


def test_an_author_is_told_of_layers_without_a_score(method):
    remark = details(conformance(method("snip"), networks=[GAPS], only={"scores"}), "scores")
    assert remark == (
        "every score is 0 in 'frozen.weight', 'inner.weight', 'unused.weight': there the order of the weights decides"
    )
    assert details(conformance(method("snip"), networks=[MLP], only={"scores"}), "scores") == ""
    assert details(conformance(method("magnitude-init"), networks=[GAPS], only={"scores"}), "scores") == ""


class Own(Sound):
    """Takes gradients without `scoring.gradients`, and does not think of layers that are never called."""

    def scores(self, scoring):
        ((inputs, labels),) = scoring.batches(1, 32)
        weights = scoring.weights
        gradients = torch.autograd.grad(cross_entropy(scoring.model(inputs), labels), list(weights.values()))
        return {name: (weights[name] * one).abs() for name, one in zip(weights, gradients, strict=True)}

    def scoring_flops(self, network, density):
        return 3 * network.flops * 32


def test_a_gradient_that_a_network_may_lack_is_found_out():
    assert "allow_unused=True" in details(conformance(Own, networks=[GAPS], only={"chain"}), "chain")
    assert conformance(Own, networks=[MLP]).ok


def test_the_kit_needs_no_timm():
    code = "import sys, prunebench.testing; print('timm' in sys.modules, 'mlflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_a_report_is_a_matrix_of_words():
    report = conformance(Raising, networks=[MLP, CONV])
    matrix = {row[0]: row[1:] for row in report.matrix()}
    assert matrix["listing"] == ("ok", "", "")
    assert matrix["chain"] == ("", "FAIL", "FAIL")
    assert matrix["inversion"] == ("", "skip", "")
    assert list(matrix) == [name for name in CHECKS if name != "deploy"]


def test_a_report_tells_each_text_once():
    report = conformance(Raising, networks=[MLP, CONV])
    ((place, text),) = report.details("failed")
    assert place == "chain on mlp, conv"
    assert text.startswith("ZeroDivisionError")
    assert str(report).splitlines()[1].startswith("chain on mlp, conv: ZeroDivisionError: no luck")


def test_the_page_for_a_pull_request_has_no_path_in_it(tmp_path):
    page = prunebench.testing.markdown([conformance(Raising, networks=[MLP])])
    assert "## `sound`: does not conform" in page
    assert "| chain |  | **FAIL** | Its chain is well-formed, the same each time, and runs from end to end. |" in page
    assert "- chain on mlp: ZeroDivisionError: no luck" in page
    assert "test_conformance.py:" in page
    assert str(Path(__file__).parents[2]) not in page


def test_every_check_says_what_it_is_about():
    assert all(text.endswith(".") for text in CHECKS.values())


def test_a_tensor_of_flops_reaches_the_ledger_as_it_is():
    given = torch.tensor(9.0, dtype=torch.float64)

    class Paid(prunebench.Updater):
        def flops(self, training):
            return given

    training = SimpleNamespace(sparse_flops=3.0, masks={}, set_masks=None)
    assert SpiedUpdater(Paid(), Spy()).flops(training) is given

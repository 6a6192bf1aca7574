"""What is measured of a network in runtimes, and when: real programs, compared with torch and timed alone."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import prunebench
from prunebench import Initialize, Program, Prune, Runtime, Train, Unsupported
from prunebench.api.errors import PluginError, PrunebenchError
from prunebench.api.runtimes import Latency, Measure, RuntimeEntry
from prunebench.execution.measuring import memory_use
from prunebench.execution.measuring.runtimes import BusyWatch, check_installed
from prunebench.execution.measuring.timing import dense_network
from prunebench.execution.performing import finished_network, measured
from prunebench.network import deployment
from prunebench.plan.jobs import kept_keys, missing_jobs, priorities, runs_alone
from prunebench.plan.planning import make_plan
from tests import runs


@pytest.fixture(autouse=True)
def hurried(request, monkeypatch):
    """Latencies are of few passes, and memory is measured in those tests alone that use `with_memory`."""
    monkeypatch.setattr(deployment, "ROUNDS", 2)
    monkeypatch.setattr(deployment, "SECONDS", 0.02)
    if "with_memory" not in request.fixturenames:
        monkeypatch.setattr(memory_use, "can_be_measured", lambda: False)


@pytest.fixture
def with_memory():
    """Memory is measured."""


class Eager(Runtime):
    """The module itself; the file has 1,000 bytes and as many as the name is long."""

    name = "eager"
    scale: float = 1.0
    skips: bool = False
    slow: float = 0.0
    reason: str = ""
    note: str = ""

    def deploy(self, network, folder):
        if self.reason:
            raise Unsupported(self.reason)
        (folder / "parts").mkdir()
        (folder / "parts" / "weights").write_bytes(bytes(1000))
        (folder / "name").write_text(self.name)
        model = network.model

        def run(inputs):
            if self.slow and network.zeros:
                time.sleep(self.slow)
            with torch.inference_mode():
                return model(inputs) * self.scale

        return Program(run=run, note=self.note)

    def skips_zeros(self, network):
        return self.skips

    def dense(self):
        return Eager()


class Integers(Runtime):
    """Rounds outputs, and is its own control."""

    name = "integers"

    def deploy(self, network, folder):
        (folder / "model").write_bytes(bytes(250))
        model = network.model
        return Program(run=lambda inputs: model(inputs).detach().round())

    def dense(self):
        return Eager()

    def int8(self):
        return self

    @property
    def tolerance(self):
        return 1.0


def measure(*runtimes, **latency):
    entries = tuple(RuntimeEntry(label=runtime.title, runtime=runtime) for runtime in runtimes)
    return Measure(entries, Latency(**latency))


@pytest.fixture(scope="module")
def trained(tiny, run_stages):
    """A network that has learned the tiny task, with half of its weights."""
    return run_stages(tiny.task(), Train(), Prune(by=tiny.ByChance(), density=0.5), Train("+1ep"))


@pytest.fixture
def figures_of(trained):
    return lambda *runtimes, **latency: measured(measure(*runtimes, **latency), trained.end, trained.context)


# --- figures


@pytest.mark.usefixtures("with_memory")
def test_metrics_sizes_and_latencies_are_of_the_program_and_stand_beside_the_trials_own(trained, figures_of):
    figures, notes = figures_of(Eager(), batch_sizes=(1, 3))
    own = {name: value for name, value in figures.items() if not name.startswith("runtime/")}
    assert own == measured(Train(), trained.end, trained.context)[0]
    found = {name.removeprefix("runtime/eager/"): value for name, value in figures.items() if name not in own}
    latencies = {"latency_ms", "latency_ms_iqr", "latency_ms_dense", "latency_ms_dense_iqr"}
    assert found.keys() == {
        *(f"{name}/{batch}" for name in latencies for batch in (1, 3)),
        *(
            "loss",
            "accuracy",
            "difference",
            "difference_relative",
            "size_bytes",
            "size_bytes_dense",
            "peak_memory_bytes",
            "peak_memory_bytes_dense",
            "threads",
            "exportable",
            "eight_bit",
        ),
    }
    assert found["accuracy"] == trained.accuracy
    assert found["size_bytes"] == found["size_bytes_dense"] == 1000 + len("eager")
    assert found["difference"] == found["difference_relative"] == 0
    assert (found["threads"], found["eight_bit"]) == (1, 0)
    assert min(found[f"{name}/1"] for name in latencies) > 0
    assert notes["runtime/eager/zeros"] == "no kernel skips its zeros, so they are not expected to make it faster"


def test_the_accuracy_is_measured_in_the_runtime(trained, figures_of):
    figures, _ = figures_of(Integers())
    data, model = trained.context.data, trained.module
    with torch.no_grad():
        outputs = model(data.normalized(data.test.inputs)).round()
    assert figures["runtime/integers/accuracy"] == float((outputs.argmax(1) == data.test.targets).double().mean())
    assert 0 < figures["runtime/integers/difference"] <= 0.5
    assert figures["runtime/integers/loss"] != figures["test_loss"]
    assert figures["runtime/integers/size_bytes"] == 250
    assert figures["runtime/integers/latency_ms_int8/1"] > 0
    assert figures["runtime/integers/eight_bit"] == 1


def test_a_slower_program_is_slower_than_dense_and_by_how_much_is_measured(figures_of):
    figures, _ = figures_of(Eager(slow=0.003))
    assert 3 <= figures["runtime/eager/latency_ms/1"] < 30
    assert figures["runtime/eager/latency_ms_dense/1"] < 3


def test_kernels_that_skip_zeros_and_remarks_are_noted(figures_of):
    _, notes = figures_of(Eager(skips=True, note="by hand"))
    assert "runtime/eager/zeros" not in notes
    assert notes["runtime/eager/kernels"] == "by hand"


def test_a_dense_network_has_no_zeros_to_skip(tiny, run_stages):
    dense = run_stages(tiny.task(), Train())
    _, notes = measured(measure(Eager()), dense.end, dense.context)
    assert "runtime/eager/zeros" not in notes


def test_a_runtime_without_kernels_says_so_and_the_others_are_measured(figures_of):
    figures, notes = figures_of(Eager(reason="no kernel: it is Sunday"), Integers())
    assert notes["runtime/eager"] == "no kernel: it is Sunday"
    assert not [name for name in figures if name.startswith("runtime/eager/")]
    assert "runtime/integers/accuracy" in figures


@pytest.mark.parametrize("scale", [1.01, -1.0, float("nan"), float("inf")])
def test_outputs_of_another_network_fail_the_row_with_a_sentence(figures_of, scale):
    with pytest.raises(PrunebenchError, match=r"runtime 'eager': an output differs from torch's by .* is the limit"):
        figures_of(Eager(scale=scale))


def test_a_difference_within_the_tolerance_is_shown(figures_of):
    figures, _ = figures_of(Eager(scale=1.0005))
    assert figures["runtime/eager/difference_relative"] == pytest.approx(5e-4, rel=1e-2)


def test_what_is_no_program_is_an_error_of_the_plugin(figures_of, monkeypatch):
    monkeypatch.setattr(Eager, "deploy", lambda self, network, folder: network.model)
    with pytest.raises(PluginError, match=r"deploy of runtime 'eager' must return a prunebench\.Program"):
        figures_of(Eager())


def test_threads_are_those_of_the_suite_and_are_restored(figures_of, monkeypatch):
    seen, deploy = [], Eager.deploy
    monkeypatch.setattr(
        Eager, "deploy", lambda *given: seen.append((torch.get_num_threads(), given[1].threads)) or deploy(*given)
    )
    before = torch.get_num_threads()
    figures, _ = figures_of(Eager(), threads=2)
    assert set(seen) == {(2, 2)}
    assert figures["runtime/eager/threads"] == 2
    assert torch.get_num_threads() == before


def test_the_dense_network_is_deployed_once_in_each_runtime(figures_of, monkeypatch):
    zeros, deploy = [], Eager.deploy
    monkeypatch.setattr(Eager, "deploy", lambda *given: zeros.append(given[1].zeros) or deploy(*given))
    figures_of(Eager(skips=True), Integers())
    assert zeros == [0.5, 0.0]


# --- the network that is delivered


def test_the_model_is_a_copy_and_calibration_is_of_training_examples(trained):
    network = finished_network(trained.end, trained.context)
    next(network.model.parameters()).data.fill_(7)
    assert not (next(network.model.parameters()) == 7).any()
    assert network.zeros == pytest.approx(0.5)
    first, again = list(network.calibration(2, 20)), list(network.calibration(2, 20))
    assert [len(inputs) for inputs in first] == [20, 20]
    assert all(one.equal(other) for one, other in zip(first, again, strict=True))
    data = trained.context.data
    known = {tuple(row.tolist()) for row in data.normalized(data.train.inputs).flatten(1)}
    assert {tuple(row.tolist()) for row in torch.cat(first).flatten(1)} <= known


def test_the_dense_network_has_no_zeros(trained):
    dense = dense_network(trained.context)
    assert dense.zeros == 0
    assert all(bool(parameter.all()) for name, parameter in dense.model.named_parameters() if "weight" in name)


# --- the plan


def planned(tiny, *methods, runtime=None):
    return make_plan((replace(tiny.trial(one), measure=measure(runtime or Eager())) for one in methods), {})


def test_a_measurement_is_a_job_of_its_own_behind_the_networks_last_state(tiny, method):
    plan = planned(tiny, method("magnitude"))
    chain = plan.trials[0].chain
    assert isinstance(plan.nodes[chain[-1]].stage, Measure)
    assert {chain[-1], chain[-2]} <= kept_keys(plan)
    jobs = missing_jobs(plan, lambda key: False, [chain[-1]])
    assert jobs[chain[-1]].path == (chain[-1],)
    assert priorities(plan, jobs)[chain[-1]] < 0 <= min(priorities(plan, jobs)[key] for key in jobs if key != chain[-1])
    assert [key for key in jobs if runs_alone(plan, key)] == [chain[-1]]
    assert plan.nodes[chain[-1]].summary == "measure in eager"


def test_other_runtimes_have_other_keys_and_share_all_training(tiny, method):
    plans = [planned(tiny, method("magnitude"), runtime=Eager(note=note)) for note in ("", "x")]
    one, other = (plan.trials[0].chain for plan in plans)
    assert one[:-1] == other[:-1]
    assert one[-1] != other[-1]
    assert one[:-1] == make_plan([tiny.trial(method("magnitude"))], {}).trials[0].chain


def test_rows_with_and_without_runtimes_are_comparable(tiny, method):
    [with_runtimes] = planned(tiny, method("magnitude")).trials
    [without] = make_plan([tiny.trial(method("magnitude"))], {}).trials
    assert with_runtimes.protocol == without.protocol
    assert with_runtimes.identity != without.identity


def test_a_chain_that_delivers_its_network_itself_is_not_measured_again(tiny):
    chained = tiny.Chained(chain=(Initialize(), Train(), prunebench.Deploy()))
    plan = planned(tiny, chained)
    assert isinstance(plan.nodes[plan.trials[0].chain[-1]].stage, prunebench.Deploy)


# --- what must be installed, and what else the machine does


def test_the_remark_is_of_every_runtime_that_was_timed(figures_of, monkeypatch):
    monkeypatch.setattr(BusyWatch, "remark", lambda self: "others were there")
    _, notes = figures_of(Eager(), Integers())
    assert notes["runtime/eager/load"] == notes["runtime/integers/load"] == "others were there"


def test_a_missing_package_is_named_with_the_command_that_installs_it():
    class Absent(Eager):
        requires = {"prunebench": "", "no_such_module": "pip install no-such-thing"}

    with pytest.raises(PrunebenchError, match="'eager' needs no_such_module, which is not installed: pip install no-"):
        check_installed([Eager(), Absent()])
    check_installed([Eager()])


@pytest.mark.parametrize(
    ("moments", "expected"),
    [
        ([(0.0, 0.0, 0.0), (10.0, 20.0, 10.0)], "other processes used 1.0 of "),
        ([(0.0, 0.0, 0.0), (10.0, 11.0, 10.0)], ""),
        ([None, (10.0, 11.0, 10.0)], ""),
    ],
)
def test_a_busy_machine_is_remarked(monkeypatch, moments, expected):
    given = iter(moments)
    monkeypatch.setattr(BusyWatch, "_now", staticmethod(lambda: next(given)))
    remark = BusyWatch().remark()
    assert remark.startswith(expected)
    assert bool(remark) == bool(expected)


# --- whole runs


def test_nothing_else_runs_while_a_network_is_measured(tmp_path):
    from prunebench import session
    from prunebench.data.prepared import prepare
    from prunebench.execution.open_trials import TaskData
    from prunebench.execution.scheduler import Scheduler, SchedulerOptions
    from prunebench.store.entries import Store
    from tests.execution.conftest import TEXT, Inline

    loaded = session.load_suite(runs.write_suite(tmp_path, TEXT + "runtimes: [torch]\n"))
    store = Store.open(tmp_path / "store")
    prepared = {trial.task.label: prepare(trial.task.dataset, None, store.data) for trial in loaded.trials}
    beside = []

    def story(order, times):
        measures = isinstance(scheduler.plan.nodes[order.key].stage, Measure)
        beside.append((measures, [one for one in pool[0].given if one != order.key]))

    executor, pool = Inline(story=story, slots=2), []
    keep = executor.open
    object.__setattr__(executor, "open", lambda site: pool.append(keep(site)) or pool[0])
    plan = session.plan_suite(loaded, prepared)
    scheduler = Scheduler(plan, store, loaded.registry, TaskData(prepared), SchedulerOptions(executor=executor))
    events = list(scheduler.events())
    assert [event.result.status for event in events] == ["done"] * 3
    assert all("runtime/torch/latency_ms/1" in event.result.metrics for event in events)
    assert [others for measures, others in beside if measures] == [[]] * 3
    assert [measures for measures, _ in beside] == sorted(measures for measures, _ in beside)
    assert any(others for measures, others in beside if not measures)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A folder in which a suite with a runtime of a plugin file was run."""
    folder = tmp_path_factory.mktemp("runtimes")
    text = runs.SUITE.split("methods:")[0].replace("epochs: 2", "epochs: 1")
    more = "methods: [random]\nsparsities: [0.5]\nseeds: 1\nruntimes: [bfloat16]\n"
    runs.write_suite(folder, text + more)
    return folder, run_in(folder)


def run_in(folder, *arguments):
    plugin = Path(__file__).parents[2] / "docs" / "examples" / "runtime.py"
    return runs.prunebench("run", "tiny.yaml", "--plugin", plugin, *arguments, cwd=folder)


def records_in(folder):
    found = [json.loads(path.read_text("utf-8")) for path in (folder / ".prunebench").glob("states/*/*/record.json")]
    return {one["trial"]: one for one in found if "runtime/bfloat16/accuracy" in one["figures"]}


@pytest.mark.slow
def test_a_runtime_of_a_plugin_file_is_measured_and_its_figures_reach_mlflow(ran):
    folder, done = ran
    assert done.returncode == 0, done.stderr
    found = records_in(folder)
    assert found.keys() == {"tiny/dense/0/0", "tiny/random/0.5/0"}
    figures = found["tiny/random/0.5/0"]["figures"]
    assert 0 < figures["runtime/bfloat16/difference_relative"] < 0.1
    assert figures["runtime/bfloat16/accuracy"] == pytest.approx(figures["test_accuracy"], abs=0.02)
    assert figures["runtime/bfloat16/size_bytes"] < 0.6 * figures["test_accuracy"] * 1e6
    assert logged(folder, found) == figures["runtime/bfloat16/latency_ms/1"]


def logged(folder, found):
    """The latency of the random row in MLflow."""
    from prunebench import tracking

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        [result] = [one for one in tracking.read_results(suite="tiny") if one.method == "random"]
    assert result.provenance["note.runtime/bfloat16/kernels"] == "bfloat16 weights and activations"
    return result.metrics["runtime/bfloat16/latency_ms/1"]


@pytest.mark.slow
def test_measurements_are_kept_and_made_again_when_it_is_asked_for(ran):
    folder, _ = ran
    before = records_in(folder)
    assert run_in(folder).returncode == 0
    assert records_in(folder) == before
    again = run_in(folder, "--measure-again")
    assert again.returncode == 0, again.stderr
    after = records_in(folder)
    assert after.keys() == before.keys()
    assert all(after[trial]["started"] > before[trial]["finished"] for trial in before)
    assert "2 done, 0 cached" in again.stdout
    assert logged(folder, after) == after["tiny/random/0.5/0"]["figures"]["runtime/bfloat16/latency_ms/1"]


@pytest.mark.slow
def test_a_runtime_that_is_not_installed_is_said_before_anything_is_trained(ran):
    folder, _ = ran
    text = (folder / "tiny.yaml").read_text("utf-8").replace("bfloat16", "absent")
    (folder / "absent.yaml").write_text(text, "utf-8")
    (folder / "absent.py").write_text(ABSENT, "utf-8")
    done = runs.prunebench("run", "absent.yaml", "--plugin", "absent.py", "--store", "new", cwd=folder)
    assert done.returncode == 2
    assert "runtime 'absent' needs no_such_module, which is not installed: pip install it" in done.stderr
    assert not list((folder / "new").glob("states/*/*"))


ABSENT = """
import prunebench

class Absent(prunebench.Runtime):
    name = "absent"
    requires = {"no_such_module": "pip install it"}

@prunebench.hookimpl
def register_runtimes():
    return [Absent]
"""

"""The runtimes of a suite: read from YAML, written back, and their errors with locations."""

from typing import Annotated, Literal

import pytest
from annotated_types import Ge
from typing_extensions import Doc

import prunebench
from prunebench.api.errors import SuiteError
from prunebench.api.registry import Registry
from prunebench.api.runtimes import Latency, Measure, RuntimeEntry
from prunebench.suite import named_runtime, read_suite
from prunebench.suite.reading import from_plain, to_plain, trial_from_plain, trial_to_plain
from prunebench.suite.schema import suite_schema
from tests.suite.conftest import VALID


class Engine(prunebench.Runtime):
    """Runs networks."""

    name = "engine"
    precision: Annotated[Literal["float32", "int8"], Doc("of weights")] = "float32"
    batches: Annotated[int, Ge(1)] = 8


@pytest.fixture
def known(fakes):
    """The components of the other tests, and a runtime."""
    return Registry(fakes.plugins, {**fakes.components, "runtime": {"engine": Engine}})


@pytest.fixture
def read(known, tmp_path):
    def read(more):
        path = tmp_path / "small.yaml"
        path.write_text(VALID + more, "utf-8")
        return read_suite(path, known)

    return read


def errors_of(read, more):
    with pytest.raises(SuiteError) as caught:
        read(more)
    lines = [line.partition("small.yaml:")[2] for line in str(caught.value).splitlines()]
    return [line for line in lines if line]


INT8 = RuntimeEntry(label="engine-int8", runtime=Engine(precision="int8"))
PLAIN = RuntimeEntry(label="engine", runtime=Engine())


def test_a_suite_without_runtimes_measures_nothing(read):
    suite = read("")
    assert suite.measure is None
    assert all(trial.measure is None for trial in suite.trials())
    assert "runtimes" not in to_plain(suite)
    assert "latency" not in to_plain(suite)


def test_runtimes_are_read_with_parameters_and_labels(read):
    suite = read(
        "runtimes: [engine, {name: engine, precision: int8}, {name: engine, label: few, batches: 2}]\n"
        "latency: {batch_sizes: [1, 64], threads: 2}\n"
    )
    few = RuntimeEntry(label="few", runtime=Engine(batches=2))
    assert suite.measure == Measure((PLAIN, INT8, few), Latency(batch_sizes=(1, 64), threads=2))
    assert {trial.measure for trial in suite.trials()} == {suite.measure}


def test_latency_is_of_one_example_and_thread_by_default(read):
    assert read("runtimes: [engine]\n").measure.latency == Latency(batch_sizes=(1,), threads=1)


def test_a_suite_and_its_trials_come_back_from_plain_values(read, known):
    suite = read("runtimes: [engine, {name: engine, precision: int8}]\nlatency: {batch_sizes: [8]}\n")
    assert from_plain(to_plain(suite), known) == suite
    trial = next(suite.trials())
    assert trial_from_plain(trial_to_plain(trial), known) == trial


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ("runtimes: [engin]", "11:12: runtimes.0: unknown runtime 'engin'; did you mean 'engine'?"),
        (
            "runtimes: [{name: engine, precision: int4}]",
            "11:38: runtimes.0.precision: must be 'float32' or 'int8', not 'int4'; did you mean 'int8'?",
        ),
        (
            "runtimes: [engine, engine]",
            "11:20: runtimes.1: 'engine' is also the label of another runtime: give one of them another label",
        ),
        (
            "latency: {threads: 1}",
            "11:1: latency: latencies are measured in runtimes: list some in `runtimes`",
        ),
        (
            "runtimes: [engine]\nlatency: {threads: 0}",
            "12:20: latency.threads: must be a whole number of at least 1, not 0",
        ),
        ("runtimes: [7]", "11:12: runtimes.0: must be the name of a runtime, or a mapping with a name, not 7"),
    ],
)
def test_an_error_says_where_and_what(read, more, expected):
    assert errors_of(read, more + "\n") == [expected]


def test_the_schema_has_the_parameters_of_each_runtime(known):
    items = suite_schema(known)["properties"]["runtimes"]["items"]["anyOf"]
    assert items[0]["anyOf"] == [{"const": "engine"}]
    assert items[1]["properties"]["precision"]["enum"] == ["float32", "int8"]
    assert set(items[1]["properties"]) == {"name", "label", "precision", "batches"}


def test_a_runtime_is_named_by_its_label_in_the_suite_its_name_or_a_mapping(read, known):
    suite = read("runtimes: [{name: engine, label: engine, precision: int8}]\n")
    assert named_runtime("engine", suite.measure, known).runtime == Engine(precision="int8")
    assert named_runtime("engine", None, known) == PLAIN
    assert named_runtime("{name: engine, precision: int8}", None, known) == INT8


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("engin", "unknown runtime 'engin'; did you mean 'engine'?"),
        ("{name: engine, precison: int8}", "unknown key; did you mean 'precision'?"),
        ("{name: [", "is not YAML"),
        ("[engine]", "must be the name of a runtime, or a mapping with a name, not a list"),
    ],
)
def test_a_text_that_names_none_is_an_error_of_the_option(known, text, expected):
    with pytest.raises(SuiteError) as caught:
        named_runtime(text, None, known)
    assert str(caught.value).startswith(f"--runtime {text}")
    assert expected in str(caught.value)

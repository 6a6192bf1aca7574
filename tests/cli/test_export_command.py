"""`prunebench export` and `prunebench inspect` as a person types them, on a suite that was run."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from prunebench import inspection, load_program, load_ticket, session
from prunebench.api.errors import PrunebenchError
from tests import runs

TRIAL, OTHER = "tiny/imp/0.7/0", "tiny/random/0.7/0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder in which two methods of the tiny suite were run for one seed."""
    folder = tmp_path_factory.mktemp("cli")
    runs.write_suite(folder)
    done = runs.prunebench("run", "tiny.yaml", "--only", "method=imp,method=random,sparsity=0.7,seed=0", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def test_a_ticket_is_written_and_gives_the_accuracy_of_the_row(here, prunebench):
    done = prunebench("export", "tiny.yaml", TRIAL)
    assert done.exit_code == 0, done.output
    assert done.output.startswith("tiny-imp-0.7-0.safetensors: ticket of tiny/imp/0.7/0, ")
    ticket = load_ticket("tiny-imp-0.7-0.safetensors")
    assert ticket.facts.initial_step == 3
    assert ticket.sparsity == pytest.approx(0.7, abs=1e-3)
    assert ticket.evaluate()["accuracy"] == ticket.facts.figures["accuracy"]
    inspected = json.loads(prunebench("inspect", "tiny.yaml", TRIAL, "--json").output)
    assert inspected["metrics"]["accuracy"] == ticket.facts.figures["accuracy"]


@pytest.mark.parametrize("place", ["file/ticket.safetensors", "file/folder/ticket.safetensors"])
def test_a_file_that_cannot_be_written_is_an_error_before_the_suite_is_read(tmp_path, monkeypatch, prunebench, place):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x", "utf-8")
    refused = prunebench("export", "no-suite.yaml", TRIAL, "--output", place)
    assert (refused.exit_code, "no-suite" in refused.output) == (2, False)
    assert "Invalid value for '--output': cannot write to file" in " ".join(refused.output.split())


def test_the_file_and_its_format_are_chosen(here, prunebench):
    done = prunebench("export", "tiny.yaml", TRIAL, "--format", "state-dict", "--output", "n.safetensors")
    assert done.exit_code == 0, done.output
    refused = prunebench("inspect", "tiny.yaml", TRIAL, "--output", "n.safetensors")
    assert refused.exit_code == 2


def test_a_trial_that_was_not_run_is_told_with_the_command_that_runs_it(here, prunebench):
    for command in ("export", "inspect"):
        refused = prunebench(command, "tiny.yaml", "tiny/imp/0.5/1", "--set", "seeds=2")
        assert refused.exit_code == 2
        said = " ".join(refused.output.split())
        again = "prunebench run tiny.yaml --set seeds=2 --only task=tiny,method=imp,sparsity=0.5,seed=1"
        assert f"`{again}` runs it" in said
        assert "Traceback" not in said


def test_a_folder_that_is_not_there_is_an_error(here, prunebench):
    refused = prunebench("export", "tiny.yaml", TRIAL, "--output", "nowhere/t.safetensors")
    assert refused.exit_code == 2
    assert "cannot write nowhere/t.safetensors" in refused.output


def test_a_look_fits_the_terminal_and_compares(here, prunebench):
    done = prunebench("inspect", "tiny.yaml", TRIAL, OTHER)
    assert done.exit_code == 0, done.output
    assert done.output.startswith("tiny/imp/0.7/0\n")
    assert "Mask overlap with tiny/random/0.7/0" in done.output
    assert max(map(len, done.output.splitlines())) <= 80


def test_stability_says_what_it_does_beside_the_output(here, prunebench):
    done = prunebench("inspect", "tiny.yaml", TRIAL, "--stability", "--json", "--output", "looked")
    assert done.exit_code == 0, done.stderr
    found = json.loads(done.stdout)["stability"]
    assert len(found["errors"]) == 11
    assert found["barrier"] == pytest.approx(max(found["errors"]) - (found["errors"][0] + found["errors"][-1]) / 2)
    assert "note: training from step 3 to " in done.stderr
    assert (here / "looked" / "stability.svg").is_file()


@pytest.mark.slow
def test_a_ticket_travels_to_the_workers_of_another_suite(here):
    assert runs.prunebench("export", "tiny.yaml", TRIAL, "--output", "t.safetensors", cwd=here).returncode == 0
    entry = "- {name: transfer, ticket: t.safetensors, sparsities: [0.7]}"
    (here / "other.yaml").write_text(
        runs.SUITE.replace("- random", entry).replace("name: tiny", "name: other"), "utf-8"
    )
    done = runs.prunebench("run", "other.yaml", "--only", "method=transfer", cwd=here)
    assert done.returncode == 0, done.stderr
    assert "3 done, 1 cached" in done.stdout  # two seeds with their controls, one of which the exported suite has made


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A folder with a suite of another name, half of the training, and a store in which one trial of it was run."""
    folder = tmp_path_factory.mktemp("elsewhere")
    runs.write_suite(folder, runs.SUITE.replace("name: tiny", "name: short").replace("epochs: 2", "epochs: 1"))
    only = ("--only", "method=random,sparsity=0.7,seed=0")
    done = runs.prunebench("run", "tiny.yaml", *only, "--store", "store", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def overlap(done):
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_a_trial_of_another_suite_in_another_store_is_compared(here, elsewhere, prunebench):
    there = ["--other-suite", elsewhere / "tiny.yaml", "--other-store", elsewhere / "store"]
    found = overlap(prunebench("inspect", "tiny.yaml", TRIAL, OTHER, *there, "--json"))
    assert (found["other"], found["other_from"]) == (OTHER, "suite short, another store")
    assert 0 < found["overlaps"][-1]["iou"] < 1
    same = overlap(prunebench("inspect", "tiny.yaml", OTHER, *there, "--json"))
    assert same["other"] == OTHER
    assert same["overlaps"][-1]["iou"] == 1, "a random mask has no part in the training"
    by_python = inspection.inspect(
        inspection.open_trial(session.load_suite("tiny.yaml"), TRIAL),
        inspection.open_trial(session.load_suite(elsewhere / "tiny.yaml"), OTHER, elsewhere / "store"),
    )
    assert json.loads(json.dumps(by_python.as_json())) == found
    shown = prunebench("inspect", "tiny.yaml", TRIAL, OTHER, *there).output
    assert "Mask overlap with tiny/random/0.7/0 (suite short, another store)\n" in shown


def test_a_trial_of_the_same_suite_with_other_settings_is_compared(here, elsewhere, prunebench):
    settings = ["name=short", "tasks.recipe.epochs=1"]
    there = [*(word for one in settings for word in ("--other-set", one)), "--other-store", elsewhere / "store"]
    found = overlap(prunebench("inspect", "tiny.yaml", OTHER, *there, "--json"))
    assert found["other_from"] == "suite short, another store"


def test_set_is_of_both_trials_until_the_other_has_its_own(here, prunebench):
    both = overlap(prunebench("inspect", "tiny.yaml", TRIAL, OTHER, "--set", "seeds=1", "--json"))
    assert "other_from" not in both
    refused = prunebench("inspect", "tiny.yaml", TRIAL, "--set", "seeds=1", "--other-set", "tasks.recipe.epochs=1")
    assert refused.exit_code == 2
    said = " ".join(refused.output.split())
    again = "prunebench run tiny.yaml --set tasks.recipe.epochs=1 --only task=tiny,method=imp,sparsity=0.7,seed=0"
    assert f"{TRIAL} is not in the store .prunebench, or was made by other code or other parameters: `{again}`" in said


def test_what_cannot_be_compared_is_one_clear_error(here, elsewhere, prunebench):
    store = ["--other-store", elsewhere / "store"]
    absent = prunebench("inspect", "tiny.yaml", TRIAL, *store)
    assert absent.exit_code == 2
    assert f"is not in the store {elsewhere / 'store'}" in " ".join(absent.output.split())
    nowhere = prunebench("inspect", "tiny.yaml", TRIAL, "--other-store", "nowhere")
    assert nowhere.exit_code == 2
    assert "'nowhere' does not exist" in nowhere.output
    nobody = prunebench("inspect", "tiny.yaml", TRIAL, "tiny/imq/0.7/0", "--other-suite", elsewhere / "tiny.yaml")
    assert nobody.exit_code == 2
    assert "suite 'short' has no trial 'tiny/imq/0.7/0'; did you mean" in nobody.output


# --- delivered networks


@pytest.fixture(scope="module")
def delivered(folder):
    """A folder that `export --runtime` has written."""
    name = runs.prunebench("export", "tiny.yaml", TRIAL, "--runtime", "torch-export", "--output", "net", cwd=folder)
    assert name.returncode == 0, name.stderr
    return folder / "net", name.stdout


def test_a_network_is_delivered_with_what_was_measured_of_it(delivered, here, prunebench):
    path, printed = delivered
    assert printed.startswith("net: tiny/imp/0.7/0 in torch-export, ")
    card = json.loads((path / "card.json").read_text("utf-8"))
    row = json.loads(prunebench("inspect", "tiny.yaml", TRIAL, "--json").output)
    assert card["figures"]["accuracy"] == pytest.approx(row["metrics"]["accuracy"])
    assert card["sparsity"] == pytest.approx(0.7, abs=1e-3)
    assert card["command"] == "prunebench run tiny.yaml --only task=tiny,method=imp,sparsity=0.7,seed=0"
    assert card["files"]["model.pt2"]["bytes"] == (path / "model.pt2").stat().st_size
    page = (path / "README.md").read_text("utf-8")
    shown = f"{100 * card['figures']['accuracy']:.2f} %"
    assert f"accuracy {shown}" in page
    assert f"accuracy {shown} in this runtime" in printed
    assert f"{card['figures']['latency_ms/1']:.3g} ± " in page
    assert card["environment"]["machine"] in page
    own, dense = (f"{card['figures'][name]:,.0f}" for name in ("parameters", "parameters_dense"))
    assert own == dense  # zeros are parameters
    assert f"It has {own} of the dense network's {dense} parameters." in page
    assert oct(path.stat().st_mode)[-3:] == "755"


def test_the_lines_on_the_card_and_load_program_give_the_same_outputs(delivered, monkeypatch):
    path, _ = delivered
    code = (path / "README.md").read_text("utf-8").partition("```python\n")[2].partition("```")[0]
    assert len(code.strip().splitlines()) == 2
    names = {"inputs": torch.randn(3, 1, 8, 8)}
    monkeypatch.chdir(path)
    exec(code, names)
    assert load_program(path)(names["inputs"]).equal(names["outputs"].detach())


def test_a_state_dict_is_read_into_a_network_of_the_same_class(here, prunebench, tmp_path, monkeypatch):
    done = prunebench("export", "tiny.yaml", TRIAL, "--runtime", "torch", "--output", str(tmp_path / "net"))
    assert done.exit_code == 0, done.output
    page = (tmp_path / "net" / "README.md").read_text("utf-8")
    assert "load_program" not in page
    with pytest.raises(PrunebenchError, match="the files of runtime 'torch' need the code of the model"):
        load_program(tmp_path / "net")
    task = session.load_suite("tiny.yaml").suite.tasks[0]
    names = {"model": task.model.build((1, 8, 8), 10).eval()}
    monkeypatch.chdir(tmp_path / "net")
    exec(page.partition("```python\n")[2].partition("```")[0], names)
    kept = sum(int(value.count_nonzero()) for name, value in names["model"].state_dict().items() if "weight" in name)
    total = sum(value.numel() for name, value in names["model"].state_dict().items() if "weight" in name)
    assert kept / total == pytest.approx(0.3, abs=1e-2)


def spoil(card, **changes):
    card.write_text(json.dumps(json.loads(card.read_text("utf-8")) | changes), "utf-8")


@pytest.mark.parametrize(
    ("harm", "expected"),
    [
        (lambda path: (path / "card.json").unlink(), "is not a delivered network"),
        (lambda path: (path / "card.json").write_text("{"), "is not the card of a delivered network: it: Invalid JSON"),
        (lambda path: (path / "card.json").write_bytes(b" " * 2**21), "is larger than 1,048,576 bytes"),
        (lambda path: spoil(path / "card.json", format=2), "format: Input should be 1"),
        (lambda path: spoil(path / "card.json", runtime={"name": "torch-expert"}), "did you mean 'torch-export'?"),
        (lambda path: spoil(path / "card.json", runtime=["torch"]), "runtime: Input should be an object"),
        (
            lambda path: spoil(path / "card.json", files={"../x": {"bytes": 1, "sha256": "0" * 64}}),
            "names '../x', which is not a file of this folder",
        ),
        (lambda path: (path / "model.pt2").unlink(), "model.pt2 cannot be read: No such file"),
        (lambda path: (path / "model.pt2").write_bytes(b"x"), "model.pt2 is damaged: its bytes are not those"),
    ],
)
def test_a_damaged_delivery_is_one_sentence(delivered, tmp_path, harm, expected):
    path = Path(shutil.copytree(delivered[0], tmp_path / "net"))
    harm(path)
    with pytest.raises(PrunebenchError) as caught:
        load_program(path)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--runtime", "torch-export", "--output", "net"], "net exists and is not an empty folder"),
        (["--runtime", "csr"], "runtime 'csr' is for measurements, and its files cannot be delivered"),
        (["--runtime", "torch", "--format", "onnx"], "give either --format or --runtime"),
        (["--runtime", "onnxruntme"], "did you mean 'onnxruntime'?"),
    ],
)
def test_what_cannot_be_delivered_is_an_error(delivered, here, prunebench, arguments, expected):
    refused = prunebench("export", "tiny.yaml", TRIAL, *arguments)
    assert refused.exit_code == 2
    assert expected in " ".join(refused.output.split())
    assert not [path for path in here.iterdir() if path.name.startswith(".net")]

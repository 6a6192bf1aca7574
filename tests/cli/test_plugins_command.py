"""`prunebench plugins`."""

import json

import pytest

from prunebench.api.registry import Plugin, Registry
from prunebench.cli.listings import show_plugins

REGISTRY = Registry(
    plugins=(
        Plugin("zebra", "/plugins/zebra.py", provides=("method zebra", "model zebra")),
        Plugin("broken", "/site/broken.py", "broken-dist", "1.2", error="ImportError: no [module] (broken.py:3)"),
    ),
    conflicts={("method", "twice"): "method 'twice' is registered by both"},
)


def test_it_lists_what_each_plugin_provides(prunebench, write):
    result = prunebench("plugins", "--plugin", write())
    assert result.exit_code == 0
    (line,) = [line for line in result.stdout.splitlines() if line.startswith("coin ")]
    assert line.split()[:3] == ["coin", "method", "coin-flip"]


def test_a_broken_plugin_is_marked_in_words_and_does_not_hide_the_others(capsys):
    show_plugins(REGISTRY)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["broken", "zebra"]
    assert "BROKEN: ImportError: no [module] (broken.py:3)" in lines[1]
    assert lines[1].endswith("broken-dist 1.2")
    assert "method zebra, model zebra" in lines[2]


def test_conflicts_stand_below(capsys):
    show_plugins(REGISTRY)
    assert capsys.readouterr().out.endswith("\nconflict: method 'twice' is registered by both\n")


def test_json_has_plugins_and_conflicts(capsys):
    show_plugins(REGISTRY, in_json=True)
    found = json.loads(capsys.readouterr().out)
    assert [plugin["name"] for plugin in found["plugins"]] == ["broken", "zebra"]
    assert found["plugins"][0]["error"] == "ImportError: no [module] (broken.py:3)"
    assert found["plugins"][1]["provides"] == ["method zebra", "model zebra"]
    assert found["conflicts"] == [{"kind": "method", "name": "twice", "error": "method 'twice' is registered by both"}]


@pytest.mark.parametrize("blocked", ["snip", "magnitude"])
def test_a_plugin_that_is_left_out_is_not_listed(prunebench, blocked):
    listed = json.loads(prunebench("plugins", "--json", "--no-plugin", blocked).stdout)["plugins"]
    assert blocked not in [plugin["name"] for plugin in listed]

"""What is installed, as a hash."""

import sys

import pytest

from prunebench.records import environment


@pytest.fixture(autouse=True)
def _anew():
    environment.installed.cache_clear()
    yield
    environment.installed.cache_clear()


def test_another_version_of_anything_that_is_installed_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    found = []
    for name in ("library-1.0.dist-info", "library-1.1.dist-info"):
        (tmp_path / name).mkdir()
        found.append(environment.installed())
        environment.installed.cache_clear()
        assert environment.installed() == found[-1]
        environment.installed.cache_clear()
    assert len(set(found)) == 2


def test_folders_in_which_nothing_is_installed_change_nothing(tmp_path, monkeypatch):
    before = environment.installed()
    environment.installed.cache_clear()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert environment.installed() == before


def test_what_a_package_carries_inside_itself_is_not_installed(tmp_path, monkeypatch):
    before = environment.installed()
    environment.installed.cache_clear()
    (tmp_path / "package" / "_vendor" / "library-1.0.dist-info").mkdir(parents=True)
    (tmp_path / "package" / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path / "package" / "_vendor")])
    assert environment.installed() == before

"""Distributions put where Python finds them, as pip would leave them, but without pip, its network and its minute."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tests import runs


def install(folder: Path, site: Path) -> Path:
    """Install a distribution of `py-modules` into a folder of site packages; gives that folder."""
    about = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))
    project = about["project"]
    metadata = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir(parents=True)
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (metadata / "METADATA").write_text(head, "utf-8")
    points = project["entry-points"]["prunebench"].items()
    lines = "".join(f"{name} = {module}\n" for name, module in points)
    (metadata / "entry_points.txt").write_text(f"[prunebench]\n{lines}", "utf-8")
    for module in about["tool"]["setuptools"]["py-modules"]:
        shutil.copy(folder / f"{module}.py", site)
    return site


def broken(site: Path, source: str = "import no_such_package_anywhere\n") -> Path:
    """Install a distribution whose module cannot be imported; gives the folder of site packages."""
    metadata = site / "broken_plugin-0.1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-plugin\nVersion: 0.1\n", "utf-8")
    (metadata / "entry_points.txt").write_text("[prunebench]\nbroken = broken_plugin\n", "utf-8")
    (site / "broken_plugin.py").write_text(source, "utf-8")
    return site


def with_site(site: Path) -> dict[str, str]:
    """The variable that puts a folder of site packages on the path of a process."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH"))))}


def pytest(tests: Path, site: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the tests of a plugin, as its author does; `tests` is their file, or their folder."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tests), *options],
        cwd=tests if tests.is_dir() else tests.parent,
        env=runs.environment(**with_site(site), OMP_NUM_THREADS="1"),
        capture_output=True,
        text=True,
        timeout=600,
    )

"""The wheel: what is in it, what must never be, and that twistd finds the plugin after an installation."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

import pytest

import kvraft

REPOSITORY: Final = Path(__file__).parents[1]

FIND_PLUGINS: Final = """
import json, sys
from twisted.application.service import IServiceMaker
from twisted.plugin import getPlugins
plugins = [each for each in getPlugins(IServiceMaker) if each.tapname == "kvraft"]
print(json.dumps({
    "plugins": [[each.name, each.module] for each in plugins],
    "file": sys.modules["twisted.plugins.kvraft_plugin"].__file__,
    "ours": sorted(name for name in sys.modules if name.split(".")[0] == "kvraft"),
    "twisted": sys.modules["twisted"].__file__,
}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this repository, built without a network: the build backend is installed beside the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def contents(wheel: Path) -> frozenset[str]:
    """The names of the files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return frozenset(archive.namelist())


@pytest.fixture
def installed(wheel: Path, tmp_path: Path) -> Path:
    """A folder that holds what an installation would put into site-packages."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    return tmp_path


def python(*arguments: str, path: Path) -> str:
    """Run Python with `path` before everything that is installed; return what it prints."""
    environment = os.environ | {"PYTHONPATH": str(path)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=path, env=environment, capture_output=True, text=True, check=True, timeout=60
    ).stdout


def test_the_wheel_has_the_version_of_the_package(wheel: Path) -> None:
    """The version is written once, in kvraft/__init__.py."""
    assert wheel.name == f"kvraft-{kvraft.__version__}-py3-none-any.whl"


def test_the_wheel_holds_the_package_and_the_plugin(contents: frozenset[str]) -> None:
    """Every module of kvraft is in the wheel, with the plugin and the mark of a typed package."""
    modules = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "kvraft").rglob("*.py")}

    assert modules | {"kvraft/py.typed", "twisted/plugins/kvraft_plugin.py"} <= contents


def test_the_wheel_holds_the_man_page(contents: frozenset[str]) -> None:
    """An installation puts it where man looks for it: in share/man of the environment whose bin is on the path."""
    assert f"kvraft-{kvraft.__version__}.data/data/share/man/man1/kvraft.1" in contents


def test_the_wheel_holds_the_page(contents: frozenset[str]) -> None:
    """Every file that the page's resource reads at the start is in the wheel."""
    page = REPOSITORY / "kvraft/server/http/page/files"
    files = {path.relative_to(REPOSITORY).as_posix() for path in page.rglob("*") if path.is_file()}

    assert "kvraft/server/http/page/files/index.html" in files
    assert files <= contents


def test_the_wheel_holds_nothing_of_twisted(contents: frozenset[str]) -> None:
    """An __init__.py or a plugin cache under twisted/ would overwrite Twisted's own: there is one file of ours."""
    assert {name for name in contents if name.startswith("twisted/")} == {"twisted/plugins/kvraft_plugin.py"}
    assert {name.split("/")[0] for name in contents} == {
        "kvraft",
        "twisted",
        f"kvraft-{kvraft.__version__}.data",
        f"kvraft-{kvraft.__version__}.dist-info",
    }


def test_the_repository_adds_no_module_to_twisted() -> None:
    """Nor does an editable install bring an __init__.py that would hide Twisted's."""
    assert list((REPOSITORY / "twisted").rglob("__init__.py")) == []


def test_twistd_finds_the_plugin(installed: Path) -> None:
    """After an installation there is one plugin `kvraft`, and looking for it imports nothing of ours."""
    found = json.loads(python("-c", FIND_PLUGINS, path=installed))

    assert found["plugins"] == [["kvraft", "kvraft.process.service"]]
    assert found["ours"] == []
    assert Path(found["file"]).is_relative_to(installed)
    assert not Path(found["twisted"]).is_relative_to(installed)


def test_twistd_offers_the_subcommand(installed: Path) -> None:
    """`twistd --help` lists kvraft."""
    run_twistd = "from twisted.scripts.twistd import run; run()"

    assert "One node of a replicated key-value store." in python("-c", run_twistd, "--help", path=installed)

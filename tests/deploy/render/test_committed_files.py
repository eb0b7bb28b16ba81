"""compose.yaml and Caddyfile at the top of the repository are what `condev render` makes for the default host."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from appliance.cli import condev

REPOSITORY = Path(__file__).parents[3]
HOST = ["--memory", "2g", "--cpus", "2", "--disk", "40g"]


def test_the_committed_files_are_what_render_writes_for_the_default_host(tmp_path: Path) -> None:
    done = CliRunner().invoke(
        condev,
        ["--config", str(REPOSITORY / "config.toml"), "--data-dir", str(tmp_path / "data"), "render", *HOST,
         "--dir", str(tmp_path), "--out", str(tmp_path / "out")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    written = sorted(path.name for path in (tmp_path / "out").rglob("*"))
    assert written == ["Caddyfile", "compose.yaml"]
    for name in written:
        stale = f"{name} is stale: run `condev render {' '.join(HOST)} --out .` at the top of the repository"
        assert (REPOSITORY / name).read_text() == (tmp_path / "out" / name).read_text(), stale
    assert not (tmp_path / "data").exists(), "render leaves no data directory behind"


def test_plan_prints_each_service_and_the_sum_and_json_says_the_same(tmp_path: Path) -> None:
    import json

    words = ["--data-dir", str(tmp_path), "plan", "--config", str(REPOSITORY / "config.toml"), *HOST]
    shown = CliRunner().invoke(condev, [*words, "--dir", str(tmp_path)])
    assert shown.exit_code == 0, shown.output
    table = {line.split("  ")[0].strip(): line for line in shown.output.splitlines()}
    assert "2,048 MiB" in table["sum"]
    plan = json.loads(CliRunner().invoke(condev, [*words, "--json", "--dir", str(tmp_path)]).output)
    for service in plan["services"]:
        assert f" {service['memory'] >> 20:,} MiB" in table[service["name"]]
    assert plan["facts"] == {"memory": 2 << 30, "cpus": 2, "disk": 40 << 30, "stores": ""}


def test_a_host_that_is_too_small_ends_with_exit_code_2_and_says_what_could_go(tmp_path: Path) -> None:
    words = ["--data-dir", str(tmp_path), "plan", "--memory", "512m", "--cpus", "1", "--disk", "40g"]
    done = CliRunner().invoke(condev, words)
    assert done.exit_code == 2
    assert "would have to go" in done.output
    wrong = CliRunner().invoke(condev, ["plan", "--memory", "lots"])
    assert wrong.exit_code == 2
    assert '"512m"' in wrong.output


def test_a_plan_needs_no_secrets(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[plugins.resend]\napi_key = { env = "NOT_SET_ANYWHERE" }\n')
    done = CliRunner().invoke(condev, ["render", "--config", str(path), *HOST, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "NOT_SET_ANYWHERE: " in (tmp_path / "out" / "compose.yaml").read_text()

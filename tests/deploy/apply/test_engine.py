"""The wrapper around Compose, with the real program (it needs no engine to read files) and the errors of one."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.deploy.apply.dotenv import add, read, required
from appliance.deploy.apply.engine import Compose, EngineError, find_program
from appliance.deploy.apply.images import kept_reference
from appliance.deploy.apply.layout import ApplyError, Installation
from appliance.deploy.apply.upgrade import image_of, own_container

FILES = """
name: a-test
services:
  core:
    image: ${CONDEV_IMAGE:-condev-monitor:1}
    user: "10001:10001"
    environment: { PASSWORD: "${POSTGRES_PASSWORD:?set it}" }
    volumes: ["./config.toml:/etc/condev/config.toml:ro", "./data:/data", "named:/x"]
  caddy:
    image: caddy:2
    ports: ["127.0.0.1:8080:80", "443:443"]
volumes: { named: {} }
"""


@pytest.fixture
def stack(tmp_path: Path) -> Path:
    (tmp_path / "compose.yaml").write_text(FILES)
    (tmp_path / ".env").write_text("POSTGRES_PASSWORD=correct-horse\n")
    return tmp_path


def test_services_are_read_with_variables_of_env_filled_in(stack: Path) -> None:
    services = Compose(stack).services()
    core, caddy = services["core"], services["caddy"]
    assert core.image == "condev-monitor:1"
    assert core.user == "10001:10001"
    assert core.binds == ((str(stack / "config.toml"), "/etc/condev/config.toml"), (str(stack / "data"), "/data"))
    assert caddy.published == (("127.0.0.1", 8080, 80), ("", 443, 443))


def test_the_environment_goes_before_env(stack: Path) -> None:
    assert Compose(stack, environ={"CONDEV_IMAGE": "x:2"}).services()["core"].image == "x:2"


def test_files_elsewhere_mean_paths_of_the_installation(stack: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "releases" / "new" / "files"
    elsewhere.mkdir(parents=True)
    (stack / "compose.yaml").rename(elsewhere / "compose.yaml")
    services = Compose(stack).services([elsewhere / "compose.yaml"])
    assert services["core"].binds[1] == (str(stack / "data"), "/data")


def test_a_label_of_the_override_gives_another_hash_and_another_file_none(stack: Path) -> None:
    compose = Compose(stack)
    before = compose.hashes()
    (stack / "compose.override.yaml").write_text("services: {core: {labels: {condev.inputs: a}}}\n")
    after = compose.hashes()
    assert set(before) == {"core", "caddy"}
    assert before["caddy"] == after["caddy"]
    assert before["core"] != after["core"]


def test_a_secret_changed_in_env_gives_another_hash(stack: Path) -> None:
    before = Compose(stack).hashes()["core"]
    (stack / ".env").write_text("POSTGRES_PASSWORD=another-one\n")
    assert Compose(stack).hashes()["core"] != before


def test_an_override_takes_the_place_of_a_mount_with_the_same_target(stack: Path) -> None:
    (stack / "compose.override.yaml").write_text(
        'services: {core: {volumes: ["./config.applied.toml:/etc/condev/config.toml:ro,z"]}}\n'
    )
    binds = {target: source for source, target in Compose(stack).services()["core"].binds}
    assert binds["/etc/condev/config.toml"] == str(stack / "config.applied.toml")


def test_what_compose_refuses_is_said_without_secrets(stack: Path) -> None:
    (stack / "compose.yaml").write_text(FILES + "  # x\nbogus: ${POSTGRES_PASSWORD}\nservices_: 1\n")
    with pytest.raises(EngineError) as refused:
        Compose(stack).services()
    assert "docker compose config" in str(refused.value)
    assert "correct-horse" not in str(refused.value)


def test_a_program_that_prints_how_it_goes_and_then_why_not(stack: Path) -> None:
    program = stack / "compose"
    program.write_text(
        "#!/bin/sh\necho ' Container condev-core-1 Waiting' >&2\n"
        "echo 'container condev-core-1 is unhealthy: correct-horse' >&2\nexit 1\n"
    )
    program.chmod(0o755)
    with pytest.raises(EngineError, match=r"^docker compose up: container condev-core-1 is unhealthy: …$"):
        Compose(stack, program=[str(program)]).up()


def test_states_are_read_in_either_form_of_json(stack: Path) -> None:
    program = stack / "compose"
    one = (
        '{"Service":"core","Name":"c","State":"running","Health":"healthy","Status":"Up","Image":"x","ExitCode":0,'
        '"Labels":"com.docker.compose.config-hash=abc,x=y"}'
    )
    for text in (f"[{one}]", f"{one}\\n"):
        program.write_text(f"#!/bin/sh\nprintf '{text}'\n")
        program.chmod(0o755)
        (state,) = Compose(stack, program=[str(program)]).states()
        assert (state.service, state.well, state.config_hash) == ("core", True, "abc")


def test_containers_that_were_stopped_while_their_network_was_removed_are_made_anew(stack: Path) -> None:
    program, log = stack / "compose", stack / "log"
    program.write_text(
        f"""#!/bin/sh
echo "$*" >> {log}
case "$*" in *--force-recreate* | *"plain ps"*) exit 0 ;; esac
echo "Error response from daemon: network {"3f" * 32} not found" >&2
exit 1
"""
    )
    program.chmod(0o755)
    Compose(stack, program=[str(program)]).restart(["core"])
    asked = [line.split("plain ", 1)[1] for line in log.read_text().splitlines()]
    assert [line.split()[0] for line in asked] == ["restart", "up", "up", "ps"]
    assert asked[2].startswith("up --force-recreate ")
    assert asked[2].endswith(" core")


def test_a_running_container_that_is_on_no_network_is_made_anew(stack: Path) -> None:
    program, log = stack / "compose", stack / "log"
    program.write_text(
        f"""#!/bin/sh
echo "$*" >> {log}
case "$*" in *"plain ps"*) ;; *) exit 0 ;; esac
echo '{{"Service":"core","State":"running","Networks":""}}'
echo '{{"Service":"caddy","State":"running","Networks":"condev"}}'
"""
    )
    program.chmod(0o755)
    Compose(stack, program=[str(program)]).up()
    asked = [line.split("plain ", 1)[1] for line in log.read_text().splitlines()]
    assert [line.split()[0] for line in asked] == ["up", "ps", "up"]
    assert "--force-recreate" in asked[2]
    assert asked[2].endswith(" --no-deps core")


def test_a_container_whose_network_was_removed_is_not_well(stack: Path) -> None:
    program = stack / "compose"
    for networks, well in (("condev", True), ("none", True), ("", False)):
        one = f'{{"Service":"core","State":"running","Health":"healthy","Networks":"{networks}"}}'
        program.write_text(f"#!/bin/sh\nprintf '{one}'\n")
        program.chmod(0o755)
        (state,) = Compose(stack, program=[str(program)]).states()
        assert state.well is well


def test_the_program_is_found_or_said_to_be_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert find_program()
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(EngineError, match="install it"):
        find_program()


def test_env_is_read_as_compose_reads_it(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("# c\nA=1\nB='two words'\nexport C=\"x\"\nD=v # why\nE=\n=bad\n")
    assert read(path) == {"A": "1", "B": "two words", "C": "x", "D": "v", "E": ""}
    assert read(tmp_path / "none") == {}


def test_secrets_are_appended_behind_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("MINE=1")
    add(path, ["POSTGRES_PASSWORD", "CLICKHOUSE_PASSWORD"])
    lines = path.read_text().splitlines()
    assert lines[0] == "MINE=1"
    assert [line.partition("=")[0] for line in lines[1:]] == ["POSTGRES_PASSWORD", "CLICKHOUSE_PASSWORD"]
    assert len(set(read(path).values())) == 3
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_is_too_large_to_be_env_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / ".env"
    path.write_text("A=1\n" * 100_000)
    with pytest.raises(ApplyError, match="right file"):
        read(path)


def test_names_that_a_stack_cannot_do_without_are_found() -> None:
    assert required(["x: ${B:?why}", "y: ${A?}", "z: ${C:-d}"]) == ["A", "B"]


def test_our_tag_of_an_image_is_made_of_its_id() -> None:
    assert kept_reference("core", "sha256:" + "0123456789abcdef" * 4) == "condev-release/core:0123456789ab"


@pytest.mark.parametrize(
    ("now", "wanted"),
    [
        ("condev-monitor:0.1.0", "condev-monitor:1.4.0"),
        ("registry.example.com:5000/condev-monitor:0.1.0", "registry.example.com:5000/condev-monitor:1.4.0"),
        ("registry.example.com:5000/condev-monitor", "registry.example.com:5000/condev-monitor:1.4.0"),
        ("condev-release/core:0123456789ab", "condev-monitor:1.4.0"),
        ("", "condev-monitor:1.4.0"),
    ],
)
def test_another_version_comes_from_where_this_one_came_from(
    now: str, wanted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONDEV_IMAGE", now)
    assert image_of(Installation(tmp_path), "v1.4.0") == wanted
    with pytest.raises(ApplyError, match="no version"):
        image_of(Installation(tmp_path), "1; rm -rf /")


def test_our_own_container_is_known_by_its_mounts(tmp_path: Path) -> None:
    file = tmp_path / "mountinfo"
    own = "ab" * 32
    file.write_text(f"1 2 8:1 /var/lib/docker/containers/{own}/resolv.conf /etc/resolv.conf rw - ext4 /dev/x rw\n")
    assert own_container(file) == own
    assert own_container(tmp_path / "none") == ""

"""`condev support-bundle`: everything that somebody who helps needs to see, and nothing that they must not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from appliance import control
from appliance.cli.context import CliContext, fail, run
from appliance.cli.host_files import refuse_lost
from appliance.deploy import host_facts, sizing
from appliance.deploy.support import listing, without_quotes, write_bundle
from appliance.recent_log import parse_line

VERB_SECONDS: Final = 90.0  # for another verb of ours; doctor gives its checks 12
LOG_LINES: Final = 2_000
CONDEV: Final = (sys.executable, "-c", "from appliance.cli import main; main()")


@click.command("support-bundle")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--doctor/--no-doctor", default=True, help="Also what `condev doctor` finds; takes some 15 seconds.")
@click.pass_obj
def support_bundle(context: CliContext, file: Path, doctor: bool) -> None:
    """Write FILE, a .tar.gz to give to who helps: versions, masked configuration, plan, figures, log lines.

    It holds no secret and no event. Works while the appliance runs and while it does not.
    """
    refuse_lost(file)
    config = context.config
    parts: dict[str, object] = {"files.json": listing(context.data_dir) if context.data_dir.is_dir() else []}
    parts |= run(_from_core, context.data_dir)
    parts["plan.json"] = _plan(context)
    if doctor:
        parts["doctor.json"] = _ask(context, "doctor", "--json")
    logged = _lines(context, "logs", "--tail", str(LOG_LINES))
    if logged:
        parts["stack-log.jsonl"] = logged
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        fail(f"{file} is there already: give another name, or move it away")
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}; give a path that can be")
    with os.fdopen(descriptor, "wb") as opened:
        write_bundle(opened, config, parts)
    click.echo(f"{file}: read it before you give it away; README.txt in it says what there is")


async def _from_core(data_dir: Path) -> dict[str, object]:
    """What the running process says; why there is nothing when it does not run."""
    parts: dict[str, object] = {}
    for verb, name in (("status", "status.json"), ("system", "system.json"), ("logs", "log.jsonl")):
        try:
            answer = await control.call(data_dir, verb, timeout=20.0)
        except control.ControlError as error:
            return {**parts, "running.json": {"answered": bool(parts), "why_not": str(error)}}
        parts[name] = answer["lines"] if verb == "logs" else without_quotes(answer)
    return parts


def _plan(context: CliContext) -> object:
    try:
        plan = sizing.make_plan(context.config, host_facts.detect(directory=context.data_dir))
    except sizing.PlanError as error:
        return {"no_plan": str(error)}
    return msgspec.to_builtins(plan)


def _ask(context: CliContext, *words: str) -> object:
    """What another verb prints as JSON."""
    done = _verb(context, *words)
    try:
        return without_quotes(json.loads(done)) if done else {"no_answer": True}
    except ValueError:
        return {"no_answer": True}


def _lines(context: CliContext, *words: str) -> list[dict[str, Any]]:
    """The log of all services, where there is a stack; each line made safe."""
    return [line for text in _verb(context, *words).splitlines() if (line := parse_line(text)) is not None]


def _verb(context: CliContext, *words: str) -> str:
    places = ["--data-dir", str(context.data_dir)]
    if context.config_path is not None:
        places += ["--config", str(context.config_path)]
    try:
        done = subprocess.run(  # noqa: S603 - ourselves
            [*CONDEV, *words, *places],
            capture_output=True, timeout=VERB_SECONDS, check=False, stdin=subprocess.DEVNULL, text=True,
            errors="replace",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout

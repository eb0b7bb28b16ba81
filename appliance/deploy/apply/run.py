"""`condev apply`: from config.toml to a stack that has received, stored and shown a real event, or back.

check → plugins → plan and difference → images → backup → switch → migrate → start → health → self-test → good. Up to
`switch` nothing that runs is touched. A failure behind it goes back to the last good release.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Literal, cast

from msgspec import Struct, structs

from appliance.config_file import ConfigError
from appliance.deploy.apply import difference, dotenv
from appliance.deploy.apply.checks import check
from appliance.deploy.apply.engine import Compose, EngineError, ServiceState
from appliance.deploy.apply.images import Images
from appliance.deploy.apply.journal import Release, Releases, Step, backup_name
from appliance.deploy.apply.layout import ApplyError, Installation, write_file
from appliance.deploy.apply.prepare import Prepared, make_directories, pin, plugins_into, prepare, secrets_needed
from appliance.deploy.apply.selftest import run_self_test
from appliance.deploy.apply.switch import (
    CORE,
    finish,
    go_back,
    lies_in_place,
    put,
    recover,
    room_for_backup,
    take_backup,
)
from appliance.deploy.extensions import load_without_secrets

AUTHORITY: Final = Path("caddy/data/caddy/pki/authorities/local/root.crt")  # of `[deploy] tls = "internal"`
LOG_LINES: Final = 8  # of each service that did not come up
SETTLE_SECONDS: Final = 5.0  # for services without a health check: what dies at once dies within them


class Options(Struct, frozen=True, kw_only=True):
    """What a person may say."""

    dry_run: bool = False
    pull: bool = True  # fetch images that are missing
    refresh: bool = False  # ask the registry for newer ones of those that are here: an upgrade
    backup: Literal["auto", "always", "never"] = "auto"  # auto: when a version, image, plugin or schema changes
    host_root: Path = Path("/")  # where the host's /proc and /sys are


Outcome = Literal["applied", "unchanged", "dry run", "declined"]


class FailedError(ApplyError):
    """A step failed; the text says which, why, and what runs now."""


class Apply:
    """One run."""

    def __init__(
        self,
        installation: Installation,
        compose: Compose,
        images: Images,
        *,
        say: Callable[[str], None],
        confirm: Callable[[list[str]], bool],
    ) -> None:
        """Say on what.

        Args:
            installation: the directory.
            compose: for it.
            images: of the engine.
            say: a line of progress.
            confirm: shown the difference; False ends it.
        """
        self._installation = installation
        self._compose = compose
        self._images = images
        self._say = say
        self._confirm = confirm
        self._releases = Releases(installation)
        self.site_url = ""  # of the release, once it is rendered

    def run(self, options: Options) -> Outcome:
        """Do it all, under the installation's lock.

        Raises:
            BusyError: another one is at work.
            ApplyError: it ended before anything was changed.
            FailedError: it failed behind that, and what runs now is said.
        """
        with self._installation.locked():
            if not options.dry_run:
                recover(self._installation, self._compose, self._images, self._say)
            try:
                return self._run(options)
            finally:
                self._releases.unstage()

    def _run(self, options: Options) -> Outcome:
        staged = self._releases.stage()
        before = self._releases.current
        with staged.step(Step.PLUGINS, self._quietly):
            plugins = plugins_into(self._installation, self._wanted_plugins(), before, staged.plugins)
        with staged.step(Step.CHECK, self._say) as said:
            said["note"] = check(self._installation, before, staged.plugins)
        with staged.step(Step.PLAN, self._quietly):
            prepared = prepare(self._installation, staged, before, plugins, options.host_root)
            self.site_url = prepared.rendered.site_url
            settings = json.dumps(prepared.rendered.shown, sort_keys=True).encode()
            write_file(staged.directory / difference.SETTINGS, settings, 0o600)
        if prepared.rendered.plan.target == "coolify":
            raise ApplyError(
                'the target "coolify" is started by Coolify: write its files with `condev render --out DIR` '
                "(docs/coolify.md)"
            )
        if not options.dry_run:
            self._secrets(prepared)
        with staged.step(Step.IMAGES, self._say) as said:
            prepared, note = self._images_of(prepared, options)
            said["note"] = note
        lines = difference.describe(prepared, before, _settings(before))
        if before is not None and not options.dry_run and self._is_in_force(prepared, before):
            return "unchanged"
        if options.dry_run:
            for line in lines or ["nothing to change"]:
                self._say(line)
            return "dry run"
        if not self._confirm(lines or ["files and images stay; what runs is not what they say, and is put right"]):
            return "declined"
        self._put_in_place(prepared, before, options)
        return "applied"

    # ── before anything is changed ──

    def _wanted_plugins(self) -> list[str]:
        try:
            return load_without_secrets(self._installation.config).plugins.install
        except ConfigError as error:
            raise ApplyError(str(error)) from error

    def _secrets(self, prepared: Prepared) -> None:
        """Make those that nobody has to know; name all others that are missing, at once."""
        ours, theirs = secrets_needed(prepared.rendered, dotenv.read(self._installation.env))
        if theirs:
            raise ApplyError(f"{self._installation.env} lacks: {', '.join(theirs)}; add a line NAME=value for each")
        if ours:
            dotenv.add(self._installation.env, ours)
            self._say(f"made secrets in {self._installation.env}: {', '.join(ours)}")

    def _images_of(self, prepared: Prepared, options: Options) -> tuple[Prepared, str]:
        if options.dry_run:  # says what is here, fetches and tags nothing
            return prepared, "not looked at in a dry run"
        pinned = pin(
            prepared, self._installation, self._compose, self._images,
            pull=options.pull, refresh=options.refresh, say=self._say,
        )  # fmt: skip
        return pinned, ", ".join(sorted(set(pinned.record.image_names.values())))

    def _is_in_force(self, prepared: Prepared, before: Release) -> bool:
        """Whether everything runs already as it would be put in place."""
        record = before.record()
        if (record.hashes, record.plugins, record.version) != (
            prepared.record.hashes,
            prepared.record.plugins,
            prepared.record.version,
        ):
            return False
        running = {state.service: state for state in self._compose.states()}
        return all(
            name in running and running[name].well and running[name].config_hash == wanted
            for name, wanted in record.hashes.items()
        ) and lies_in_place(self._installation, prepared.release)

    # ── from here on things change ──

    def _put_in_place(self, prepared: Prepared, before: Release | None, options: Options) -> None:
        release = self._releases.publish(prepared.release)
        prepared = structs.replace(prepared, release=release)
        try:
            prepared = self._backed_up(prepared, before, options)
        except Exception as error:
            self._installation.keep_spool.unlink(missing_ok=True)
            release.note(Step.ABANDON, "done", str(error)[:500])
            raise FailedError(f"backup: {error}\nnothing was changed") from error
        try:
            self._steps(prepared)
        except Exception as error:  # whatever it was: the release before runs again
            step = next((entry.step for entry in reversed(release.entries()) if entry.state == "failed"), Step.SWITCH)
            raise self._failed(step, error, release, before) from error
        finish(self._installation, self._images, release, self._say)

    def _backed_up(self, prepared: Prepared, before: Release | None, options: Options) -> Prepared:
        release = prepared.release
        with release.step(Step.BACKUP, self._say) as said:
            why_not = self._why_no_backup(prepared, before, options)
            if why_not:
                said["note"] = f"none: {why_not}"
                return prepared
            self._releases.drop_backups()
            room_for_backup(self._installation, required=_is_required(prepared))
            name = backup_name(release)
            # Before the backup, not behind it: what the pipeline finishes while it is written is not in it.
            self._installation.keep_spool.touch(mode=0o644)
            take_backup(self._installation, self._installation.backups / name)
            said["note"] = f"backups/{name}"
        record = structs.replace(prepared.record, backup=name)
        release.write_record(record)
        return structs.replace(prepared, record=record)

    def _why_no_backup(self, prepared: Prepared, before: Release | None, options: Options) -> str:
        """In words; "" when one is to be made. Raises `ApplyError` where going on without one would be a trap."""
        must = _is_required(prepared)
        if before is None:
            return "there is nothing yet"
        running = any(state.service == CORE and state.well for state in self._compose.states())
        if must and (options.backup == "never" or not running):
            raise ApplyError(
                "this version's data cannot be read by the version before, so a backup has to be made first: "
                "leave out --no-backup, and have the core running"
            )
        if options.backup == "never":
            return "not wanted"
        if not running:
            return "the core does not run"
        old, new = before.record(), prepared.record
        same = (old.version, old.image_ids, old.plugins) == (new.version, new.image_ids, new.plugins)
        if options.backup == "auto" and same and not prepared.migrations.pending:
            return "no version, image, plugin or schema changes"
        return ""

    def _steps(self, prepared: Prepared) -> None:
        release, installation = prepared.release, self._installation
        with release.step(Step.SWITCH, self._say) as said:
            make_directories(installation, prepared.rendered)
            if prepared.record.previous:  # there before where a backup was made; what is accepted survives a way back
                installation.keep_spool.touch(mode=0o644)
            put(installation, release)
            said["note"] = f"{release.name} lies in {installation.root}"
        with release.step(Step.MIGRATE, self._say) as said:
            said["note"] = self._migrate(prepared)
        with release.step(Step.START, self._say) as said:
            try:
                self._compose.up()
            except EngineError as error:
                raise EngineError(f"{error}{self._last_words()}") from error
            said["note"] = f"{len(prepared.record.images)} services are up"
        with release.step(Step.HEALTH, self._say) as said:
            said["note"] = self._health(prepared)
        with release.step(Step.SELF_TEST, self._say) as said:
            ports = [port for service in self._compose.services().values() for port in service.published]
            site, authority = prepared.rendered.site_url, installation.root / AUTHORITY
            said["note"] = asyncio.run(
                run_self_test(installation.data, site, ports, authority, prepared.rendered.protocols)
            )
            self._states(prepared)  # the event was their first work: some die of that

    def _migrate(self, prepared: Prepared) -> str:
        if not prepared.migrations.pending:
            return "nothing to migrate"
        self._compose.stop([CORE])  # the embedded stores have one process at a time; ingest goes on
        self._compose.run(CORE, ["migrate"])
        return "; ".join(prepared.migrations.steps)

    def _health(self, prepared: Prepared) -> str:
        """Every service well, and still so a moment later where nothing but its running is known."""
        states = self._states(prepared)
        if not all(state.health for state in states):
            time.sleep(SETTLE_SECONDS)
            self._states(prepared)
        return f"{', '.join(sorted(prepared.record.hashes))} are well"

    def _states(self, prepared: Prepared) -> list[ServiceState]:
        """Those of the services, in the containers that were asked for. Raises `EngineError` when one is not well."""
        wanted = prepared.record.hashes
        states = {state.service: state for state in self._compose.states()}
        unwell = [
            f"{name} ({states[name].status if name in states else 'is not there'})"
            for name in sorted(wanted)
            if name not in states or not states[name].well
        ]
        if unwell:
            raise EngineError(f"not well: {', '.join(unwell)}; see `condev logs`")
        return [states[name] for name in wanted]

    def _last_words(self) -> str:
        """What the services that are not well logged last: the reason stands there more often than with Compose."""
        try:
            unwell = [state.service for state in self._compose.states() if not state.well]
            said = self._compose.last_logs(unwell, LOG_LINES) if unwell else ""
        except EngineError:
            return ""
        return f"\nthe last lines of {', '.join(unwell)}:\n{said.rstrip()}" if said.strip() else ""

    def _failed(self, step: Step, error: Exception, release: Release, before: Release | None) -> FailedError:
        """Go back, and say what was wrong and what runs now."""
        why = f"{step.value}: {error}"
        if before is None:
            release.note(Step.ABANDON, "done", "there is no release to go back to")
            return FailedError(
                f"{why}\nthis was the first install: there is nothing to go back to; what was started is left: "
                "look at it (condev status, condev logs), mend it, and run `condev apply` again"
            )
        self._say(f"{step.value} failed: going back to {before.name}")
        try:
            go_back(self._installation, self._compose, self._images, release, before, self._say)
        except (ApplyError, OSError) as second:
            return FailedError(
                f"{why}\ngoing back to {before.name} failed too: {second}\n"
                "mend that and run `condev apply` again: it goes on from here"
            )
        return FailedError(f"{why}\n{before.name} runs again; config.toml is as you left it")

    def _quietly(self, _line: str) -> None:
        """For steps that say enough by what follows."""


def _is_required(prepared: Prepared) -> bool:
    """Whether there is no way back without a backup."""
    return prepared.migrations.pending and not prepared.migrations.readable_by_previous


def _settings(release: Release | None) -> dict[str, Any]:
    if release is None:
        return {}
    try:
        return cast("dict[str, Any]", json.loads((release.directory / difference.SETTINGS).read_bytes()))
    except (OSError, ValueError):
        return {}


def overlay_env(installation: Installation) -> None:
    """Give this process the variables of .env that it lacks: `{ env = … }` in config.toml means them."""
    for name, value in dotenv.read(installation.env).items():
        os.environ.setdefault(name, value)

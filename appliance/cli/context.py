"""What every verb starts from: the configuration, the data directory, and the metadata when it is needed."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, ParamSpec, TypeVar

import click

from appliance.config import Config
from appliance.config_file import ConfigError, load
from appliance.data_dir import DataDirError, metadata_url, prepare_data_dir, read_address

if TYPE_CHECKING:  # a third of a second of processor time, and few verbs need it
    from appliance.metadata.database import Database

DEFAULT_CONFIG: Final = Path("config.toml")
DEFAULT_DATA_DIR: Final = Path("data")
DEFAULT_PORT: Final = 8000

P = ParamSpec("P")
R = TypeVar("R")


class CliContext:
    """Handed to verbs by `@click.pass_obj`. Reads nothing before it is asked."""

    def __init__(self, config_path: Path | None, data_dir: Path) -> None:
        """Args: config_path: None when no file was named and ./config.toml does not exist."""
        self.config_path = config_path
        self.data_dir = data_dir.resolve()
        self._config: Config | None = None

    @property
    def config(self) -> Config:
        """The configuration; ends the process with exit code 2 and one line per problem when it is wrong."""
        if self._config is None:
            try:
                self._config = load(self.config_path)
            except ConfigError as error:
                fail(str(error), code=2)
        return self._config

    @property
    def site_url(self) -> str:
        """Where people reach the appliance: site.url, else where it was last served, else the default port."""
        if self.config.site.url:
            return self.config.site.url
        return read_address(self.data_dir) or f"http://127.0.0.1:{DEFAULT_PORT}"

    @property
    def metadata_url(self) -> str:
        """The SQLAlchemy URL of the metadata."""
        return metadata_url(self.config, self.data_dir)

    def prepare(self) -> None:
        """Make the data directory, or end the process with a clear line.

        From here on this process's files are for its user alone: libraries make some (the database, the event
        store's parts), and a directory that was there before may be open to others.
        """
        os.umask(0o077)
        try:
            prepare_data_dir(self.data_dir)
        except DataDirError as error:
            fail(str(error))

    @asynccontextmanager
    async def open_metadata(self) -> AsyncGenerator[Database]:
        """The metadata database, migrated to this version."""
        from appliance.metadata.database import Database
        from appliance.metadata.migrate import SchemaTooNewError, migrate

        self.prepare()
        database = Database(self.metadata_url)
        try:
            await migrate(database, self.data_dir)
            yield database
        except SchemaTooNewError as error:
            fail(str(error))
        finally:
            await database.close()


def fail(message: str, code: int = 1) -> NoReturn:
    """One clear line on standard error, and a non-zero exit."""
    for line in message.splitlines():
        click.echo(f"condev: {line}", err=True)
    sys.exit(code)


def run(verb: Callable[P, Awaitable[R]], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run an async verb."""

    async def main() -> R:
        return await verb(*args, **kwargs)

    return asyncio.run(main())


def print_json(value: object) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(value, ensure_ascii=False))

"""The index of a registry: a database over its files that can be made anew from them, and who wins where two act at once.

Two who would write the same version, or change aliases on the same ground, insert the same row; the database lets one of them
in. The row is inserted in the transaction that also creates the one file that decides, so that whoever is killed in between
leaves no row: whatever a row says can be read in the files.

SQLite in the storage (for a storage on S3: in the cache folder of this machine), or PostgreSQL by URL. The only module that
imports SQLAlchemy.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Delete,
    Integer,
    MetaData,
    NullPool,
    String,
    Table,
    Text,
    create_engine,
    delete,
    event,
    func,
    inspect,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError

from ipt_platform.errors import InfrastructureError, RefusedError, UsageError, storage_failed
from ipt_platform.registry.catalogue import Row
from ipt_platform.registry.store import VARIABLE

PATIENCE = 60
"""Seconds that one waits for another who is writing."""

_TABLES = MetaData()
VERSIONS = Table(
    "ipt_versions",
    _TABLES,
    Column("registry", String(32), primary_key=True),
    Column("task", String(63), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("committed", Boolean, nullable=False),
    Column("created", String(40)),
    Column("owner", Text),
    Column("description", Text),
    Column("backbone", String(71)),
    Column("passed", Boolean),
)
CHANGES = Table(
    "ipt_changes",
    _TABLES,
    Column("registry", String(32), primary_key=True),
    Column("task", String(63), primary_key=True),
    Column("revision", Integer, primary_key=True),
)
ALIASES = Table(
    "ipt_aliases",
    _TABLES,
    Column("registry", String(32), primary_key=True),
    Column("task", String(63), primary_key=True),
    Column("alias", String(63), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
)

_INSERT = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}


class Index:
    """The rows of one registry.

    Every method raises InfrastructureError where the database fails.

    Args:
        url: of the database.
        registry: id of the registry; a database may hold the rows of several.
    """

    def __init__(self, url: URL, registry: str):
        self.url, self.registry = url, registry
        self._engine: Engine | None = None

    @contextmanager
    def claim_version(self, task: str, version: int) -> Iterator[None]:
        """Hold the number of a version while its first file is created; it stays claimed if the block ends well.

        Raises:
            RefusedError: somebody else has it.
        """
        with self._claim(VERSIONS, {"task": task, "version": version, "committed": False}, f"{task}@{version}"):
            yield

    @contextmanager
    def claim_change(self, task: str, revision: int) -> Iterator[None]:
        """Hold the number of a change while its file is created; it stays claimed if the block ends well.

        Raises:
            RefusedError: somebody else has it.
        """
        with self._claim(CHANGES, {"task": task, "revision": revision}, f"change {revision} of {task}"):
            yield

    def rows(self) -> list[Row]:
        """Every version that is committed or claimed, by task and number."""
        columns = [column for column in VERSIONS.c if column.name != "registry"]
        order = (VERSIONS.c.task, VERSIONS.c.version)
        with self._connection(write=False) as connection:
            found = connection.execute(select(*columns).where(VERSIONS.c.registry == self.registry).order_by(*order))
            return [Row(**row) for row in found.mappings()]

    def aliases(self) -> list[tuple[str, str, int]]:
        """Every alias: its task, its name, and the version it points to."""
        columns = (ALIASES.c.task, ALIASES.c.alias, ALIASES.c.version)
        with self._connection(write=False) as connection:
            found = connection.execute(select(*columns).where(ALIASES.c.registry == self.registry).order_by(*columns))
            return [(row.task, row.alias, row.version) for row in found]

    def replace(
        self, rows: Iterable[Row], gone: Iterable[tuple[str, int]], aliases: Mapping[str, tuple[int, Mapping[str, int]]]
    ) -> None:
        """Bring the index to what the files say.

        Args:
            rows: versions that are new or have changed.
            gone: (task, version) that are no longer there.
            aliases: for each task, the number of its newest change and where its aliases point; what a later change wrote
                meanwhile stays.
        """
        with self._connection() as connection:
            for row in rows:
                self._put(connection, VERSIONS, vars(row))
            for task, version in gone:
                connection.execute(self._of(VERSIONS, task).where(VERSIONS.c.version == version))
            for task, (revision, pointing) in aliases.items():
                known = connection.scalar(select(func.max(ALIASES.c.revision)).where(*self._same(ALIASES, task)))
                if (known or 0) < revision:
                    connection.execute(self._of(ALIASES, task))
                    for alias, version in pointing.items():
                        self._put(connection, ALIASES, {"task": task, "alias": alias, "version": version, "revision": revision})

    def clear(self) -> None:
        """Forget all rows of this registry; a SQLite file that is none any more is removed."""
        try:
            with self._connection() as connection:
                for table in _TABLES.tables.values():
                    connection.execute(delete(table).where(table.c.registry == self.registry))
        except InfrastructureError:
            if self.url.get_backend_name() != "sqlite" or not self.url.database or not _damaged(Path(self.url.database)):
                raise
            Path(self.url.database).unlink()
            self._engine = None

    def _of(self, table: Table, task: str) -> Delete:
        return delete(table).where(*self._same(table, task))

    def _same(self, table: Table, task: str) -> tuple[ColumnElement[bool], ...]:
        return table.c.registry == self.registry, table.c.task == task

    def _put(self, connection: Connection, table: Table, values: Mapping[str, Any]) -> None:
        """Insert a row, or replace the one with its key."""
        key = [column.name for column in table.primary_key]
        row = {"registry": self.registry, **values}
        statement = _INSERT[self.url.get_backend_name()](table).values(row)
        other = {name: value for name, value in row.items() if name not in key}
        connection.execute(statement.on_conflict_do_update(index_elements=key, set_=other))

    @contextmanager
    def _claim(self, table: Table, values: Mapping[str, Any], what: str) -> Iterator[None]:
        with self._connection() as connection:
            try:
                connection.execute(table.insert().values(registry=self.registry, **values))
            except IntegrityError as error:
                raise RefusedError(f"{what} was written by somebody else meanwhile; nothing was changed") from error
            yield

    @contextmanager
    def _connection(self, write: bool = True) -> Iterator[Connection]:
        """A transaction: kept if the block ends well, undone if not, also when the process is killed."""
        try:
            engine = self._engine or self._open()
            self._engine = engine
            with engine.begin() as connection:
                _begin(connection, write)
                yield connection
        except DBAPIError as error:
            said = str(error.orig).strip().splitlines()
            raise InfrastructureError(
                f"the index of the registry at {shown(self.url)} failed: {said[0] if said else error}. "
                "The files are untouched; `ipt-platform registry rebuild` makes a damaged index anew."
            ) from error

    def _open(self) -> Engine:
        if self.url.get_backend_name() == "sqlite":
            folder = Path(self.url.database or "").parent
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise storage_failed(error, folder) from error
            options: dict[str, Any] = {"timeout": PATIENCE}
        else:
            options = {"connect_timeout": PATIENCE}
        engine = create_engine(self.url, connect_args=options, poolclass=NullPool)
        if engine.dialect.name == "sqlite":
            # The driver would begin transactions by itself, each as one that only reads until it writes.
            event.listen(engine, "connect", lambda connection, _: setattr(connection, "isolation_level", None))
        if not set(_TABLES.tables) <= set(inspect(engine).get_table_names()):
            _make_tables(engine)
        return engine


def _make_tables(engine: Engine) -> None:
    """Two who make them at once: the second one waits, and finds them made."""
    with engine.begin() as connection:
        _begin(connection, write=True)
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('ipt-platform registry'))"))
        _TABLES.create_all(connection)


def _begin(connection: Connection, write: bool) -> None:
    """SQLite lets one write at a time: who will write waits for its turn before it reads, or two would wait for each other."""
    if connection.dialect.name == "sqlite":
        connection.execute(text("BEGIN IMMEDIATE" if write else "BEGIN"))


def _damaged(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(16) != b"SQLite format 3\0"


def database_url(default: Path, given: str | None) -> URL:
    """Where the index of a registry is.

    Args:
        default: the SQLite file that it is where nothing else is said.
        given: URL of a database, as `IPT_REGISTRY_DATABASE` has it.

    Raises:
        UsageError: the URL names no SQLite and no PostgreSQL, or what connects to it is not installed. A password in it is
            not repeated.
    """
    if not given:
        return URL.create("sqlite", database=str(default))
    expected = "expected postgresql://USER@HOST/DATABASE or sqlite:////PATH"
    try:
        url = make_url(given)
        if url.drivername in ("postgres", "postgresql"):
            url = url.set(drivername="postgresql+psycopg")
        if url.get_backend_name() not in _INSERT or not url.database:
            raise UsageError(f"{VARIABLE}={shown(url)}: {expected}")
        url.get_dialect().import_dbapi()
    except (ArgumentError, NoSuchModuleError, ValueError) as error:
        raise UsageError(f"{VARIABLE} is no URL of a database: {expected}") from error
    except ModuleNotFoundError as error:
        raise UsageError(
            f"{VARIABLE} names a PostgreSQL database, and {error.name} is not installed: pip install 'ipt-platform[postgres]'"
        ) from error
    return url


def shown(url: URL) -> str:
    """A URL as it may be shown: without its password."""
    return url.set(query={}).render_as_string(hide_password=True)


def cache_file(registry: str) -> Path:
    """Where this machine keeps the index of a registry on S3."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "ipt-platform", f"registry-{registry}.sqlite")

"""The column types and bases that all tables share: ids, timestamps in UTC, JSON, versions.

Knows nothing of any table.
"""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, ClassVar, Final

from sqlalchemy import JSON, DateTime, MetaData, TypeDecorator, Uuid
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, MappedAsDataclass, declared_attr, mapped_column

__all__ = ["Base", "Json", "Kept", "UTCDateTime", "now"]


def now() -> datetime:
    """Return the present time in UTC."""
    return datetime.now(UTC)


class UTCDateTime(TypeDecorator[datetime]):
    """A point in time; SQLite forgets the zone, so it is always UTC there."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the time in UTC.

        Raises:
            ValueError: It has no zone, so it could mean anything.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a timestamp needs a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Return the time with its zone."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class _Id(Uuid[uuid.UUID]):
    """A UUID. Where the database keeps texts, equal texts give one object: long lists name the same rows often."""

    cache_ok = True

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], Any] | None:
        """Return what makes the UUID of a text; ``None`` where the driver does."""
        if dialect.supports_native_uuid:
            return None
        return lambda text: None if text is None else _uuid_of(text)


_uuid_of: Final = lru_cache(maxsize=16384)(uuid.UUID)

Json: Final = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
"""Any JSON value; replace it as a whole to change it, because a change inside is not seen."""


class Base(MappedAsDataclass, DeclarativeBase, kw_only=True):
    """Base of all tables; rows are made by keyword."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {uuid.UUID: _Id()}
    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Kept(MappedAsDataclass, kw_only=True):
    """What every row has that people edit: an id, a version for ETag and If-Match, and when it was made and changed.

    ``version`` begins at 1 and counts up with every update, which fails when the row has another one by then.
    """

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default_factory=uuid.uuid4)
    version: Mapped[int] = mapped_column(init=False, nullable=False)
    created_at: Mapped[datetime] = mapped_column(UTCDateTime, default_factory=now)
    updated_at: Mapped[datetime] = mapped_column(UTCDateTime, default_factory=now, onupdate=now)

    @declared_attr.directive
    @classmethod
    def __mapper_args__(cls) -> dict[str, Any]:
        return {"version_id_col": cls.__table__.c.version}  # type: ignore[attr-defined]

"""What the columns of a user's table mean, as keyword arguments or as a YAML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from grace.data.errors import DataError
from grace.data.plain_values import check_plain, parse_yaml, read_yaml_text

__all__ = ["TableSchema", "Threshold", "load_table_schema"]


class Threshold(BaseModel):
    """Failure as the first sustained crossing of a limit by one channel.

    Exactly one of ``above`` and ``below`` is given. The failure is the first row of the first run
    of ``rows`` consecutive rows beyond the limit; missing values end a run.

    Example:
        >>> Threshold(channel="vibration", above=20.0).rows  # consecutive rows beyond the limit
        3
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    channel: str
    above: float | None = None
    below: float | None = None
    rows: int = Field(3, ge=1)

    @model_validator(mode="after")
    def _one_limit(self) -> Threshold:
        if (self.above is None) == (self.below is None):
            raise ValueError("give exactly one of above and below")
        return self


class TableSchema(BaseModel):
    """Roles of the columns of a table: the keys of :func:`read_table`, of ``RULModel.fit`` and of
    the YAML file.

    Args:
        unit: column that identifies a machine. With several files and no such column in any of
            them, the name of each file (without suffix) identifies its unit.
        time: column of life time: a count, a number or a timestamp.
        time_unit: unit of ``time`` ("cycles", "hours"). Timestamps become elapsed time since the
            unit's first record in seconds, minutes, hours, days or weeks.
        fate: how failures are known, see :func:`read_table`.
        static: attributes of the unit, constant over its life.
        settings: columns that describe how the machine is operated.
        sensors: measured channels; None takes every column without another role.
        ignore: columns that are left out.
        confirm: columns that seem to contain the label and are used all the same.
        missing_values: numbers that stand for a missing value, e.g. ``[-999, 4294967295]``.
        timezone: zone of timestamps without offset, e.g. ``"Europe/Berlin"``; None takes them as
            UTC.
        time_format: format of text timestamps (``strptime``); None recognises ISO 8601 and the
            usual day-month-year notations.
        separator: field separator of text files; None recognises it.
        decimal: decimal mark of text files, ``"."`` or ``","``; None recognises it per column.
        encoding: encoding of text files; None recognises it.
        descriptions: optional text per column for reports.

    Example:
        >>> schema = TableSchema(unit="pump", time="hour", time_unit="hours", fate="failed")
        >>> print(schema.to_yaml())
        unit: pump
        time: hour
        time_unit: hours
        fate: failed
        <BLANKLINE>
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    unit: str
    time: str
    time_unit: str
    fate: Any = None
    static: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    sensors: tuple[str, ...] | None = None
    ignore: tuple[str, ...] = ()
    confirm: tuple[str, ...] = ()
    missing_values: tuple[float, ...] = ()
    timezone: str | None = None
    time_format: str | None = None
    separator: str | None = Field(None, min_length=1, max_length=1)
    decimal: Literal[".", ","] | None = None
    encoding: str | None = None
    descriptions: dict[str, str] = Field(default_factory=dict)

    @field_validator("static", "settings", "sensors", "ignore", "confirm", mode="before")
    @classmethod
    def _one_name_is_a_list(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("time_unit")
    @classmethod
    def _named(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("name the unit of time, e.g. cycles, hours or days")
        return value.strip()

    @model_validator(mode="after")
    def _one_role_each(self) -> TableSchema:
        roles = {"unit": (self.unit,), "time": (self.time,), "static": self.static}
        roles |= {"settings": self.settings, "sensors": self.sensors or (), "ignore": self.ignore}
        seen: dict[str, str] = {}
        for role, names in roles.items():
            for name in names:
                if name in seen:
                    raise ValueError(
                        f"column {name!r} has two roles, {seen[name]} and {role}; keep one"
                    )
                seen[name] = role
        if self.sensors is not None and not self.sensors:
            raise ValueError("sensors is empty; name at least one, or leave it out for the rest")
        return self

    def to_yaml(self) -> str:
        """The schema as YAML; only what differs from the defaults.

        Raises:
            DataError: ``fate`` holds a data frame, which has no place in a YAML file.
        """
        values = self.model_dump(mode="python", exclude_defaults=True)
        try:
            return yaml.safe_dump(_plain(values), sort_keys=False, allow_unicode=True)
        except yaml.YAMLError:
            raise DataError(
                "fate holds a data frame, which cannot be written to YAML.",
                remedy="save it as a CSV or Parquet file and give its path.",
            ) from None


def load_table_schema(source: Any, overrides: dict[str, Any], *, known: object) -> TableSchema:
    """The schema of a YAML file, a mapping, or keyword arguments.

    Args:
        source: path of a YAML file, mapping, :class:`TableSchema` or None.
        overrides: keyword arguments that were given; they replace the keys of ``source``.
        known: where the table is, for messages.

    Raises:
        DataError: the file is missing or no YAML mapping; a key is unknown, missing, or wrong.
    """
    values: dict[str, Any] = {}
    if isinstance(source, TableSchema):
        values = source.model_dump(exclude_unset=True)
    elif isinstance(source, (str, Path)):
        values = _read_yaml(Path(source))
    elif isinstance(source, dict):
        values = dict(source)
    elif source is not None:
        raise DataError(
            f"schema is a {type(source).__name__}.",
            source=known,
            remedy="give the path of a YAML file, a mapping or a TableSchema.",
        )
    values |= overrides
    missing = [k for k in ("unit", "time", "time_unit") if values.get(k) is None]
    if missing:
        raise DataError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not given.",
            source=known,
            remedy="name the unit column, the time column and the unit of time, e.g. "
            'unit="pump", time="hour", time_unit="hours".',
        )
    try:
        return TableSchema(**values)
    except (ValidationError, TypeError) as error:
        text = str(error)
        if isinstance(error, ValidationError):
            text = "; ".join(
                f"{'.'.join(map(str, e['loc'])) or 'schema'}: "
                f"{str(e['msg']).removeprefix('Value error, ')}"
                for e in error.errors()
            )
        keys = ", ".join(TableSchema.model_fields)
        raise DataError(
            f"the schema is not valid: {text}.", source=known, remedy=f"keys are {keys}."
        ) from None


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        values = parse_yaml(read_yaml_text(path))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise DataError(
            f"the schema cannot be read: {reason}.", source=path, remedy="check the path."
        ) from None
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        raise DataError(
            f"the schema is not YAML: {getattr(error, 'problem', error)}.",
            source=path,
            line=None if line is None else line + 1,
            remedy="correct the line.",
        ) from None
    if not isinstance(values, dict) or not all(isinstance(k, str) for k in values):
        raise DataError(
            "the schema is no mapping of keys to values.",
            source=path,
            remedy="write lines such as 'unit: pump'.",
        )
    try:
        check_plain(values)
    except ValueError as error:
        problem = f"the schema is not valid: {error}."
        raise DataError(problem, source=path, remedy="correct the value.") from None
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return _plain(value.model_dump(exclude_none=True))
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value

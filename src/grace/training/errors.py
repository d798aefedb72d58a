"""Errors of the configuration, and their messages."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ValidationError

__all__ = ["ConfigError", "explain_validation"]


class ConfigError(ValueError):
    """A configuration that cannot be used; the message names the key and the remedy.

    Example:
        >>> from grace.training import RunConfig
        >>> try:
        ...     RunConfig.load(overrides={"training": {"epochs": 0}})
        ... except ConfigError as error:
        ...     print(error)
        training.epochs = 0: Input should be greater than or equal to 1
    """


def explain_validation(error: ValidationError, where: object = None, *, hint: str = "") -> str:
    """Pydantic's validation errors as lines of text: ``where: key = value: problem``.

    Args:
        error: what pydantic raised.
        where: the file or section, printed at the start of each line.
        hint: appended to errors about unknown keys, for example where the known keys are listed.

    Example:
        >>> from grace.training.config import ModelConfig
        >>> try:
        ...     ModelConfig(lstm_hidden=0)
        ... except ValidationError as error:
        ...     explain_validation(error, "model.yaml")
        'model.yaml: lstm_hidden = 0: Input should be greater than or equal to 1'
    """
    lines = []
    for item in error.errors(include_url=False):
        key, value = ".".join(map(str, item["loc"])), item["input"]
        if item["type"] == "extra_forbidden":
            lines.append(f"unknown key {key!r}" + (f"; {hint}" if hint else ""))
            continue
        # An error about several keys has the whole section as its value; its message names them.
        of_section = item["type"] == "value_error" and isinstance(value, Mapping | BaseModel)
        text = repr(value)
        shown = "" if of_section else f" = {text if len(text) <= 200 else text[:197] + '...'}"
        message = item["msg"].removeprefix("Value error, ")
        lines.append(f"{key}{shown}: {message}" if key else message)
    prefix = "" if where is None else f"{where}: "
    return "\n".join(prefix + line for line in lines)

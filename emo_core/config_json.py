"""A config to JSON and strictly back: how it travels in a checkpoint's metadata."""

from __future__ import annotations

import dataclasses
import json
import types
import typing

from .config import ModelConfig
from .errors import InputError

RETIRED_FIELDS = ("is_output_present",)
"""Of configs that earlier versions wrote; they changed nothing that is computed."""


def config_to_json(config: ModelConfig) -> str:
    """Write a config as one line of JSON."""
    return json.dumps(dataclasses.asdict(config))


def config_from_json(text: str, *, source: str) -> ModelConfig:
    """Read a config back; every field must be known and of the right kind.

    Raises:
        InputError: names `source` and the field.
    """
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"{source}: the config is not JSON ({error}).") from error
    return _build(ModelConfig, values, path=f"{source}: config")


def _build(kind: type, values: object, *, path: str) -> typing.Any:
    """Build dataclass `kind` from parsed JSON, strictly."""
    if not isinstance(values, dict):
        raise InputError(f"{path} is {values!r}; expected the fields of {kind.__name__}.")
    hints = typing.get_type_hints(kind)
    values = {name: value for name, value in values.items() if name not in RETIRED_FIELDS}
    unknown = sorted(set(values) - set(hints))
    if unknown:
        raise InputError(
            f"{path} has unknown fields {unknown}; {kind.__name__} knows {sorted(hints)}. "
            "The file is probably from a newer version of this pack: update the pack."
        )
    converted = {name: _convert(hints[name], values[name], f"{path}.{name}") for name in values}
    needed = [f.name for f in dataclasses.fields(kind) if f.default is f.default_factory]
    if absent := sorted(set(needed) - set(converted)):
        raise InputError(f"{path} lacks {absent}, which {kind.__name__} needs.")
    return kind(**converted)


def _convert(hint: typing.Any, value: object, path: str) -> object:
    if isinstance(hint, types.UnionType):
        if value is None:
            return None
        hint = next(option for option in typing.get_args(hint) if option is not types.NoneType)
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, path=path)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list):
            raise InputError(f"{path} is {value!r}; expected a list.")
        item_hint = typing.get_args(hint)[0]
        return tuple(_convert(item_hint, item, f"{path}[{i}]") for i, item in enumerate(value))
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is float and is_number:
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise InputError(f"{path} is {value!r}; expected {hint.__name__}.")
    return value

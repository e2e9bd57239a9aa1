"""How much of everything a request may have: refused before any of its parts is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from pydantic import BaseModel

_Schema = Mapping[str, Any]
_MOST: Final = 10_000  # parts of what says no number of its own
_MOST_STRANGE: Final = 100  # fields that there are not


def keep_in_bounds(model: type[BaseModel], sent: object) -> None:
    """
    Raise ValueError, `field: message`, where a list or an object has more parts than the model says
    anywhere in it. Reading them all first would note each that is wrong: gigabytes for a few MiB.
    """
    schema = _schema(model)
    for found in _beyond(sent, schema, schema.get("$defs", {}), ""):
        raise ValueError(found)


@lru_cache(maxsize=256)
def _schema(model: type[BaseModel]) -> _Schema:
    return model.model_json_schema()


def _beyond(sent: object, schema: _Schema, named: _Schema, path: str) -> Iterator[str]:
    if not isinstance(sent, list | dict):
        return
    if "$ref" in schema:
        schema = named[schema["$ref"].rpartition("/")[2]]
    for one in schema.get("anyOf", ()):
        yield from _beyond(sent, one, named, path)
    if isinstance(sent, list) and schema.get("type") == "array":
        most = schema.get("maxItems", _MOST)
        if len(sent) > most:
            yield _told(path, len(sent), most)
            return
        for index, part in enumerate(sent):
            yield from _beyond(part, schema.get("items", {}), named, f"{path}.{index}".strip("."))
    elif isinstance(sent, dict) and schema.get("type") == "object":
        fields = schema.get("properties", {})
        most = schema.get("maxProperties", len(fields) + _MOST_STRANGE if fields else _MOST)
        if len(sent) > most:
            yield _told(path, len(sent), most)
            return
        for name, part in sent.items():
            yield from _beyond(part, _of(schema, name), named, f"{path}.{name}".strip("."))


def _of(schema: _Schema, name: str) -> _Schema:
    """What is said of the object's part of that name."""
    other = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")]
    own = schema.get("properties", {}).get(name)
    return next((one for one in (own, *other) if isinstance(one, dict)), {})


def _told(path: str, number: int, most: int) -> str:
    return f"{path or 'body'}: should have at most {most} items, not {number}"

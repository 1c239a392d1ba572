"""Finds the way through nested settings models: which type stands at a path, which keys it has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr

from loader.settings.models import StoreURL


def choices(annotation: Any) -> Iterator[Any]:
    """The types that an annotation allows, with unions and Annotated taken apart."""
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from choices(get_args(annotation)[0])
    elif origin in (Union, UnionType):
        for one in get_args(annotation):
            yield from choices(one)
    else:
        yield annotation


def models(annotation: Any) -> list[type[BaseModel]]:
    """The models among the types that an annotation allows."""
    return [c for c in choices(annotation) if isinstance(c, type) and issubclass(c, BaseModel)]


def annotation_at(annotation: Any, step: str | int) -> Any:
    """The type of a block's key or a list's item; None where it has no such thing."""
    for one in choices(annotation):
        origin, args = get_origin(one), get_args(one)
        if isinstance(one, type) and issubclass(one, BaseModel):
            if step in one.model_fields:
                return one.model_fields[str(step)].annotation
        elif isinstance(step, str) and isinstance(origin, type) and issubclass(origin, Mapping):
            return args[1]
        elif isinstance(step, int) and origin is tuple and args:
            return args[step] if step < len(args) and args[-1] is not Ellipsis else args[0]
        elif isinstance(step, int) and isinstance(origin, type) and not issubclass(origin, Mapping):
            return args[0] if args else None
    return None


def is_secret(annotation: Any) -> bool:
    """Whether a value of this type must never be shown: a secret, a list of them, or a block that
    has one, in whose place somebody may have written it."""
    for one in choices(annotation):
        if one in (SecretStr, StoreURL) or (
            get_origin(one) is tuple and any(map(is_secret, get_args(one)))
        ):
            return True
        if isinstance(one, type) and issubclass(one, BaseModel):
            return any(is_secret(field.annotation) for field in one.model_fields.values())
    return False


def secrets(value: Any) -> Iterator[str]:
    """Every secret in a validated model."""
    match value:
        case SecretStr():
            yield value.get_secret_value()
        case StoreURL():
            yield from value.secrets()
        case BaseModel():
            for name in type(value).model_fields:
                yield from secrets(getattr(value, name))
        case Mapping():
            for one in value.values():
                yield from secrets(one)
        case list() | tuple():
            for one in value:
                yield from secrets(one)

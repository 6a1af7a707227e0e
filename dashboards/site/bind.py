"""Checks tags against their definitions and gives their attributes values."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

from .components import COMPONENTS, Attribute, Definition, Type, possible_tags
from .errors import suggest
from .formats import Field, Fields
from .tree import Child, If, Node


class Component(SimpleNamespace):
    """A tag with its attributes as values; an attribute without a value is None."""

    def __getattr__(self, name: str) -> None:
        if name.startswith("_"):
            raise AttributeError(name)


def check(children: Iterable[Child], inside: Definition | None = None) -> None:
    """Check tags and attributes in every branch. `inside` is the component around them, if any.

    Raises:
        SiteError: a tag is unknown or misplaced, or an attribute is unknown, missing or impossible.
    """
    for child in children:
        if isinstance(child, If):
            for branch in child.branches:
                check(branch.children, inside)
        elif isinstance(child, Node):
            with child.located():
                possible = possible_tags(inside)
                if child.tag not in possible:
                    raise ValueError(f"unknown tag here; {suggest(child.tag, possible)}")
                definition = COMPONENTS[child.tag]
                _check_attributes(child, definition)
            check(child.children, definition)


def _check_attributes(node: Node, definition: Definition) -> None:
    attributes = {each.name: each for each in definition.attributes}
    for name in node.attributes.keys() - attributes.keys():
        raise ValueError(f"no attribute {name!r}; {suggest(name, attributes)}")
    for name, attribute in attributes.items():
        if name in node.attributes:
            _plain_value(attribute, node.attributes[name])
        elif attribute.required:
            raise ValueError(f"{name}= is missing; add it")


def bind(node: Node, fields: Fields) -> Component:
    """Make a component of a checked tag.

    Args:
        node: the tag.
        fields: what its query returns, or the query of the tag around it.

    Raises:
        ValueError: there is no such column, or it cannot be shown as asked.
    """
    definition = COMPONENTS[node.tag]
    c = Component(tag=node.tag, fields=fields, parts=[])
    c.template = definition.template or definition.tag
    for attribute in definition.attributes:
        value: Any = attribute.default
        if attribute.name in node.attributes:
            value = _value(attribute, node.attributes[attribute.name], fields)
            if attribute.format in node.attributes:
                value = value.formatted(node.attributes[attribute.format])
        setattr(c, attribute.name, value)
    # A line whose place is NULL is not drawn.
    places = [a.name for a in definition.attributes if a.type is Type.PLACE]
    c.is_placed = all(getattr(c, name) is not None for name in places if name in node.attributes)
    if c.contentType == "bar" and c.id.kind not in ("number", "nothing"):
        raise ValueError(f"contentType=bar does not suit {c.id.name!r}, which holds {c.id.kind}")
    return c


def columns(fields: Iterable[Field]) -> list[Component]:
    """Return columns for a table that names none."""
    return [Component(id=field) for field in fields]


def _value(attribute: Attribute, text: str, fields: Fields) -> Any:
    if attribute.type is Type.COLUMN:
        if text not in fields:
            raise ValueError(f"no column {text!r}; {suggest(text, fields)}")
        return fields[text]
    if attribute.type is Type.PLACE:
        if text in fields:
            return next(iter(fields[text].values), None)
        return _number(attribute, text)
    return _plain_value(attribute, text)


def _plain_value(attribute: Attribute, text: str) -> Any:
    """Return the value of an attribute that needs no query."""
    allowed = ("true", "false") if attribute.type is Type.FLAG else attribute.allowed
    if allowed and text not in allowed:
        what = f"{attribute.name}={text!r} is not possible"
        raise ValueError(f"{what}; {suggest(text, allowed)}")
    if attribute.type is Type.FLAG:
        return text == "true"
    if attribute.type in (Type.WHOLE, Type.NUMBER):
        return _number(attribute, text)
    return text


def _number(attribute: Attribute, text: str) -> float:
    try:
        return int(text) if attribute.type is Type.WHOLE else float(text)
    except ValueError:
        what = f"{attribute.name}={text!r} is not a {attribute.type.value}"
        raise ValueError(f"{what}; write one, as in {attribute.name}=2") from None

"""One call of `fal_client`, and the typed call that takes its place."""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import libcst as cst

from fal_codegen.migrate.shapes import Model, Module, structs_of
from fal_codegen.migrate.source import Source, Unsure, literal_text
from fal_runtime.conform import conform

__all__ = ["VERBS", "Edit", "Options", "Refused", "Site", "attribute", "edit_arguments", "new_arguments", "plain_input"]

Edit: TypeAlias = Callable[[Any], cst.CSTNode]
"""Makes a new node of an old one, in which the edits of what it contains are already done."""

_COMMON = ("path", "hint", "headers", "start_timeout")
_UPLOAD = ("repository", "fallback_repository", "lifecycle")

VERBS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "run": (("application", "arguments"), (*_COMMON, "method", "timeout")),
    "submit": (("application", "arguments"), (*_COMMON, "webhook_url", "priority")),
    "subscribe": (
        ("application", "arguments"),
        (*_COMMON, "with_logs", "interval", "on_enqueue", "on_queue_update", "priority", "client_timeout"),
    ),
    "stream": (("application", "arguments"), ("path", "timeout", "headers")),
    "status": (("application", "request_id"), ("with_logs",)),
    "result": (("application", "request_id"), ()),
    "cancel": (("application", "request_id"), ()),
    "get_handle": (("application", "request_id"), ()),
    "upload": (("data", "content_type", "file_name"), _UPLOAD),
    "upload_file": (("path",), _UPLOAD),
    "upload_image": (("image", "format"), _UPLOAD),
    "encode": (("data", "content_type"), ()),
    "encode_file": (("path",), ()),
    "encode_image": (("image", "format"), ()),
}
"""The parameters of the old verbs: those that may be given by position, then those by name. Source: fal-client 1.0.3."""

_METHODS = ("GET", "PUT", "PATCH", "DELETE")
_RENAMED = {"with_logs": "logs", "client_timeout": "timeout"}
_NO_SPACE = cst.AssignEqual(cst.SimpleWhitespace(""), cst.SimpleWhitespace(""))


@dataclass(eq=False)
class Site:
    """A call of a verb of `fal_client`."""

    call: cst.Call
    verb: str
    """Its name without `_async`."""
    asynchronous: bool
    client: cst.BaseExpression | None = None
    """The client object that it goes by."""


class Refused(Unsure):
    """A written input that the schema refuses. The platform may take it all the same, so it is sent as it is."""


class Options:
    """What a call of a verb is given, by the names of the verb's parameters.

    Raises:
        Unsure: if that cannot be told from the call.
    """

    def __init__(self, site: Site) -> None:
        positional, named = VERBS[site.verb]
        self.index: dict[str, int] = {}
        self.args = site.call.args
        self.site = site
        for number, arg in enumerate(self.args):
            if arg.star:
                raise Unsure(site.call, f"what {arg.star} passes on is known only at run time")
            if arg.keyword is not None:
                name = arg.keyword.value
            elif number < len(positional):
                name = positional[number]
            else:
                raise Unsure(site.call, f"{site.verb} takes {len(positional)} arguments by position")
            if name not in positional + named:
                raise Unsure(site.call, f"{name!r} is no parameter of {site.verb}")
            self.index[name] = number

    def __contains__(self, name: str) -> bool:
        return name in self.index

    def get(self, name: str) -> cst.BaseExpression | None:
        """The expression given for a parameter."""
        return self.args[self.index[name]].value if name in self.index else None

    def need(self, name: str) -> cst.BaseExpression:
        """The expression given for a parameter that must be there. Raises `Unsure` if it is not."""
        value = self.get(name)
        if value is None:
            raise Unsure(self.site.call, f"the call gives no {name!r}")
        return value


def attribute(value: cst.BaseExpression, *names: str) -> cst.BaseExpression:
    """`value.a.b`"""
    for name in names:
        value = cst.Attribute(value, cst.Name(name))
    return value


def keyword(name: str, value: cst.BaseExpression) -> cst.Arg:
    """`name=value`"""
    return cst.Arg(value, keyword=cst.Name(name), equal=_NO_SPACE)


def plain_input(node: cst.BaseExpression) -> cst.Dict | None:
    """The dict that an input is, if all its keys are literal texts."""
    if not isinstance(node, cst.Dict):
        return None
    known = all(isinstance(each, cst.DictElement) and literal_text(each.key) is not None for each in node.elements)
    return node if known else None


class Inputs:
    """How the dict of an input becomes an object.

    Args:
        source: The file.
        module: The endpoint's module.
        name: What the module is called in the file.
    """

    def __init__(self, source: Source, module: Module, name: str) -> None:
        self._source = source
        self._module = module
        self._name = name
        self.edits: dict[cst.CSTNode, Edit] = {}
        self.notes: list[tuple[cst.CSTNode, str]] = []

    def read(self, node: cst.BaseExpression) -> Callable[[cst.BaseExpression], tuple[cst.BaseExpression, Any]]:
        """What makes an input of an edited expression, and a dict of the fields that the schema does not know.

        Raises:
            Refused: if the schema does not take what is written there.
        """
        cls = attribute(cst.Name(self._name), "Input")
        literal = plain_input(node)
        if literal is None:
            self.notes.append(
                (node, "the dict is checked: what the schema does not know, or would not take, is refused")
            )
            return _as_it_is
        shape = self._module.input
        keys = [_key(element) for element in literal.elements]
        for wire, field in shape.fields.items():
            if field.required and wire not in keys:
                raise Refused(node, f"the schema requires {wire!r}, which is not among the arguments")
        for element, key in zip(literal.elements, keys, strict=True):
            if key not in shape.fields:
                self.notes.append((element, f"the schema has no field {key!r}; it is sent as it is, with extra="))
            else:
                self._nest(element.value, shape, key)
        self._check(literal, shape)

        def make(edited: cst.BaseExpression) -> tuple[cst.BaseExpression, Any]:
            values = cst.ensure_type(edited, cst.Dict)
            unknown = [each for each, key in zip(values.elements, keys, strict=True) if key not in shape.fields]
            call = to_call(values, cls, shape)
            return call, _dict_of(unknown) if unknown else None

        return make

    def _nest(self, value: cst.BaseExpression, shape: Model, key: str) -> None:
        """Turn the dicts inside a field's value into objects, where there is one class that they can be."""
        if isinstance(value, cst.List | cst.Tuple):
            for item in value.elements:
                self._nest(item.value, shape, key)
            return
        literal = plain_input(value)
        if literal is None:
            return
        info = shape.fields[key].type
        while (inner_type := getattr(info, "item_type", None)) is not None:
            info = inner_type
        classes = structs_of(info) or [
            cls for branch in getattr(info, "types", ()) for cls in structs_of(getattr(branch, "item_type", branch))
        ]
        if len(set(classes)) != 1:
            return
        inner = Model(classes[0])
        keys = {_key(element) for element in literal.elements}
        required = {wire for wire, field in inner.fields.items() if field.required}
        if not required <= keys <= set(inner.fields) or not self._module.holds(inner.cls):
            return
        for element in literal.elements:
            self._nest(element.value, inner, _key(element))
        name = attribute(cst.Name(self._name), inner.cls.__name__)
        self.edits[literal] = lambda edited: to_call(edited, name, inner)

    def _check(self, literal: cst.Dict, shape: Model) -> None:
        """Raise `Refused` if a written value breaks a rule."""
        for element in literal.elements:
            key = _key(element)
            if key not in shape.fields:
                continue
            try:
                value: Any = ast.literal_eval(self._source.code(element.value))
            except (ValueError, SyntaxError):
                continue
            for problem in conform({key: value}, shape.cls)[1]:
                if problem.rule != "missing":
                    raise Refused(element, f"the schema does not take it: {problem}")


def _key(element: cst.BaseDictElement) -> str:
    """The key of an element of which it is known that it has one."""
    return literal_text(cst.ensure_type(element, cst.DictElement).key) or ""


def to_call(node: cst.Dict, cls: cst.BaseExpression, shape: Model) -> cst.Call:
    """A dict as the call of a class, laid out as before. What is no field of the class is left out."""
    closing = node.rbrace.whitespace_before
    args = [
        keyword(shape.fields[_key(element)].name, element.value).with_changes(comma=element.comma)
        for element in node.elements
        if _key(element) in shape.fields
    ]
    if args:
        last = args[-1]
        several = isinstance(closing, cst.ParenthesizedWhitespace)
        if not several:
            args[-1] = last.with_changes(comma=cst.MaybeSentinel.DEFAULT)
        elif isinstance(node.elements[-1].comma, cst.Comma):
            args[-1] = last.with_changes(comma=cst.Comma(whitespace_after=closing))
        else:
            args[-1] = last.with_changes(comma=cst.MaybeSentinel.DEFAULT, whitespace_after_arg=closing)
    before = node.lbrace.whitespace_after
    if not isinstance(before, cst.ParenthesizedWhitespace):
        before = cst.SimpleWhitespace("")
    return cst.Call(cls, args, whitespace_before_args=before, lpar=node.lpar, rpar=node.rpar)


def _dict_of(elements: Sequence[cst.BaseDictElement]) -> cst.Dict:
    plain = [
        cst.DictElement(element.key, element.value) for element in elements if isinstance(element, cst.DictElement)
    ]
    return cst.Dict(plain)


def new_arguments(call: cst.Call, changes: dict[int, cst.Arg | None], more: Sequence[cst.Arg]) -> cst.Call:
    """A call with some arguments replaced or, with `None`, taken out, and some more behind; comments stay."""
    before: cst.BaseParenthesizableWhitespace = call.whitespace_before_args
    kept: list[cst.Arg] = []
    for number, arg in enumerate(call.args):
        change = changes.get(number, arg)
        if change is not None:
            kept.append(change.with_changes(comma=arg.comma, whitespace_after_arg=arg.whitespace_after_arg))
            continue
        last = number == len(call.args) - 1
        after = arg.comma.whitespace_after if isinstance(arg.comma, cst.Comma) else arg.whitespace_after_arg
        if kept:
            comma = kept[-1].comma
            old = comma.whitespace_after if isinstance(comma, cst.Comma) else cst.SimpleWhitespace("")
            joined = _joined(old, after, last)
            if last and not isinstance(arg.comma, cst.Comma):
                kept[-1] = kept[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT, whitespace_after_arg=joined)
            else:
                kept[-1] = kept[-1].with_changes(comma=cst.Comma(whitespace_after=joined))
        else:
            before = _joined(before, after, last)
    for arg in more:
        previous = kept[-1] if kept else None
        if previous is None:
            kept.append(arg)
            continue
        closing = previous.comma.whitespace_after if isinstance(previous.comma, cst.Comma) else None
        if isinstance(closing, cst.ParenthesizedWhitespace):  # one argument a line, with a comma behind the last
            between = before if isinstance(before, cst.ParenthesizedWhitespace) else cst.SimpleWhitespace(" ")
            if isinstance(between, cst.ParenthesizedWhitespace):
                between = cst.ParenthesizedWhitespace(closing.first_line, [], True, between.last_line)
            kept[-1] = previous.with_changes(comma=cst.Comma(whitespace_after=between))
            plain = closing.with_changes(first_line=cst.TrailingWhitespace())
            kept.append(arg.with_changes(comma=cst.Comma(whitespace_after=plain)))
        else:
            ending = previous.whitespace_after_arg
            space: cst.BaseParenthesizableWhitespace = cst.SimpleWhitespace(" ")
            if isinstance(ending, cst.ParenthesizedWhitespace) and isinstance(before, cst.ParenthesizedWhitespace):
                space = before.with_changes(empty_lines=[])
            kept[-1] = previous.with_changes(
                comma=cst.Comma(whitespace_after=space), whitespace_after_arg=cst.SimpleWhitespace("")
            )
            kept.append(arg.with_changes(whitespace_after_arg=ending))
    return call.with_changes(args=_unnamed_first(kept), whitespace_before_args=before)


def _unnamed_first(args: Sequence[cst.Arg]) -> list[cst.Arg]:
    """Put arguments without a name before the others, without moving the space between them."""
    order = sorted(args, key=lambda arg: arg.keyword is not None)
    return [
        arg.with_changes(comma=slot.comma, whitespace_after_arg=slot.whitespace_after_arg)
        for arg, slot in zip(order, args, strict=True)
    ]


def _joined(
    before: cst.BaseParenthesizableWhitespace, after: cst.BaseParenthesizableWhitespace, last: bool
) -> cst.BaseParenthesizableWhitespace:
    """The space that is left where something between two spaces was taken out, with the comments of both."""
    if not isinstance(after, cst.ParenthesizedWhitespace):
        return cst.SimpleWhitespace("") if last else before
    comment = after.first_line.comment
    if not isinstance(before, cst.ParenthesizedWhitespace):
        return after if last or comment is not None else before
    lines = list(before.empty_lines)
    if comment is not None:
        lines.append(cst.EmptyLine(indent=before.indent, whitespace=before.last_line, comment=comment))
    lines += after.empty_lines
    end = after if last else before
    return before.with_changes(empty_lines=lines, indent=end.indent, last_line=end.last_line)


def _as_it_is(edited: cst.BaseExpression) -> tuple[cst.BaseExpression, Any]:
    return edited, None


def edit_arguments(
    site: Site, options: Options, inputs: Inputs | None, *, whole: bool
) -> tuple[Callable[[cst.Call], cst.Call], list[str]]:
    """What makes the new call of a `run`, `submit`, `subscribe` or `stream`, and what is lost on the way.

    Args:
        site: The call.
        options: What it is given.
        inputs: What makes the input; `None` for an untyped call, which takes the dict as it is.
        whole: Whether the endpoint's new id has the path in it.

    Raises:
        Unsure: if an argument cannot be carried over.
    """
    given = options.need("arguments")
    make = inputs.read(given) if inputs is not None else _as_it_is
    lost: list[str] = []
    changes: dict[int, str | None] = {options.index["application"]: None}
    for name, number in options.index.items():
        if name == "method":
            method = literal_text(options.need(name))
            if method in ("POST", "post"):
                changes[number] = None
            elif method not in _METHODS:
                raise Unsure(
                    site.call, f"its HTTP method is not one of {', '.join(_METHODS)}, or known only at run time"
                )
            elif method == "GET":
                lost.append("with GET the input becomes the address's query; fal_client sends none of it")
        elif name == "interval":
            changes[number] = None
            lost.append("interval is gone: the bindings follow the queue's own events")
        elif name == "path" and whole:
            changes[number] = None
        elif name in _RENAMED:
            changes[number] = _RENAMED[name]
    place = options.index["arguments"]

    def edit(updated: cst.Call) -> cst.Call:
        value, extra = make(updated.args[place].value)
        done: dict[int, cst.Arg | None] = {
            number: None if name is None else updated.args[number].with_changes(keyword=cst.Name(name))
            for number, name in changes.items()
        }
        done[place] = cst.Arg(value)
        more = [keyword("extra", extra)] if extra is not None else []
        if site.client is not None:
            more.append(keyword("client", site.client))
        return new_arguments(updated, done, more)

    return edit, lost

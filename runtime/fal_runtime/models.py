"""The base classes of generated types.

`InputModel` and `OutputModel` differ in what an absent field means. On an input, a field that was not set is absent on
the wire, so the platform's own default applies even after it changes. On an output, a field that was not sent has the
schema's default or `None`, so nothing a reader touches is ever a sentinel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from os import PathLike
from typing import IO, TYPE_CHECKING, Annotated, Any, Protocol, Self, SupportsIndex, TypeAlias, TypeVar, cast, overload

import msgspec

__all__ = ["FileInput", "FileInputs", "InputModel", "OneOf", "OutputModel", "default"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

if TYPE_CHECKING:
    from typing import Union as OneOf

    from fal_runtime.media import MediaFile
    from fal_runtime.sources import Picture

    FileInput: TypeAlias = str | PathLike[str] | bytes | IO[bytes] | Picture | MediaFile
    """What an input field that names a file takes: an `https://` URL or `data:` URI, or something to upload first: a
    `pathlib.Path`, bytes, a file open in mode `rb`, a Pillow image. An output's file is passed on by its URL."""

    class Several(Protocol[T_co]):
        """A list or a tuple. Unlike `Sequence`, this is no string, and unlike `list`, it need not be of a union."""

        def __contains__(self, value: object, /) -> bool: ...
        def __getitem__(self, index: SupportsIndex, /) -> T_co: ...
        def __iter__(self) -> Iterator[T_co]: ...
        def __len__(self) -> int: ...

    FileInputs: TypeAlias = Several[FileInput]
    """What an input field that names files takes: a list of what a `FileInput` takes."""
else:  # what is checked and sent is a URL; the mark tells `fal_runtime.file_inputs` where there may be files
    FileInput = Annotated[str, msgspec.Meta(extra={"file": True})]
    FileInputs = list[FileInput]

    class OneOf:
        """A union whose members msgspec cannot tell apart, such as two object types: the runtime's own check does."""

        def __class_getitem__(cls, types):
            # A JSON schema can hold no types, only a name for them.
            return Annotated[Any, msgspec.Meta(extra={"one_of": types}, extra_json_schema={"one_of": repr(types)})]


class _Default:
    """What `default` puts behind a field until its class is made."""

    __slots__ = ("name", "value")

    def __init__(self, value: Any, name: str | None) -> None:
        self.value = value
        self.name = name


class _InputMeta(msgspec.StructMeta):
    """Keeps the platform's defaults beside the fields, and explains what a wrong call got wrong."""

    if not TYPE_CHECKING:  # to a checker, the initialiser is made of the fields

        def __new__(mcls, name, bases, namespace, **options):
            defaults = {key: value for key, value in namespace.items() if type(value) is _Default}
            for key, each in defaults.items():
                unset = msgspec.UNSET
                namespace[key] = unset if each.name is None else msgspec.field(default=unset, name=each.name)
            cls = super().__new__(mcls, name, bases, namespace, **options)
            known = {key: each.value for key, each in defaults.items() if each.value is not msgspec.UNSET}
            cls.__platform_defaults__ = {**getattr(cls, "__platform_defaults__", {}), **known}
            return cls

        @property
        def __signature__(cls):  # noqa: N805
            """The initialiser with the platform's defaults, for `help` and notebooks."""
            signature, defaults = super().__signature__, cls.__platform_defaults__
            shown = (
                parameter.replace(default=defaults.get(name, ...)) if parameter.default is msgspec.UNSET else parameter
                for name, parameter in signature.parameters.items()
            )
            return signature.replace(parameters=tuple(shown))

        def __call__(cls, *args, **fields):  # noqa: N805
            try:
                return super().__call__(*args, **fields)
            except TypeError as error:
                raise _explained(cls, args, fields, error) from None


class _DataclassFields:
    """Makes FastAPI take a model for a body, and `dataclasses` for one of its own, without a cost before they ask."""

    def __get__(self, instance: Any, owner: type[Any]) -> Any:
        from fal_runtime.interop import dataclass_fields

        return dataclass_fields(owner, instance)


class _DataclassParams:
    """What `pprint` asks of a dataclass: that it has a `__repr__` of its own."""

    repr = False


class _Model(msgspec.Struct, kw_only=True):
    """What inputs and outputs have in common."""

    def to_dict(self) -> dict[str, Any]:
        """The fields as a plain dict, by their names on the wire. What was not set is not in it."""
        return cast("dict[str, Any]", _plain(self))

    def replace(self, **changes: Any) -> Self:
        """A copy with other values in some fields.

        Raises:
            TypeError: if there is no such field.
        """
        try:
            return msgspec.structs.replace(self, **changes)
        except TypeError as error:
            raise _explained(type(self), (), changes, error, whole=False) from None

    if not TYPE_CHECKING:  # for pydantic and FastAPI, which look for these by name

        @classmethod
        def __get_pydantic_core_schema__(cls, source, handler):
            from fal_runtime.interop import core_schema

            return core_schema(cls)

        @classmethod
        def __get_pydantic_json_schema__(cls, core, handler):
            from fal_runtime.interop import pydantic_json_schema

            return pydantic_json_schema(cls, handler)

        __dataclass_fields__ = _DataclassFields()
        __dataclass_params__ = _DataclassParams()


class InputModel(_Model, kw_only=True, repr_omit_defaults=True, forbid_unknown_fields=True, metaclass=_InputMeta):
    """Base of every type that is sent. Fields that were not set read as `msgspec.UNSET` and are not sent."""

    @classmethod
    def from_dict(cls, value: Mapping[str, Any], *, drop_null: bool = False) -> Self:
        """Build it from a dict with the names of the wire, and check it.

        Args:
            value: What was set. It may hold models.
            drop_null: Whether a null stands for a field that was not set, where the field itself takes no null: so do
                models that call tools in a strict mode answer.

        Raises:
            InputError: listing every problem.
        """
        from fal_runtime.inputs import read_input

        return cast("Self", read_input(value, cls, drop_null=drop_null))


class OutputModel(_Model, kw_only=True):
    """Base of every type that is received. Unknown fields are ignored, so the platform may add some."""

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> Self:
        """Build it from a dict with the names of the wire, such as `to_dict` gives.

        Raises:
            OutputError: listing every departure from the schema.
        """
        from fal_runtime.inputs import read_output

        return cast("Self", read_output(value, cls))


@overload  # nothing to show: the platform names no default
def default(*, name: str | None = None) -> Any: ...
@overload  # mypy takes a list of words for one of `str` even where literals are wanted, so a list fits every field
def default(value: list[Any], *, name: str | None = None) -> Any: ...
@overload
def default(value: T, *, name: str | None = None) -> T: ...
def default(value: Any = msgspec.UNSET, *, name: str | None = None) -> Any:
    """Declare an optional input field: editors show `value`, the wire carries nothing until the caller sets it.

    Args:
        value: The platform's own default, for the reader and for `json_schema`; it is never sent.
        name: The field's name on the wire, where it is not the attribute's.
    """
    return _Default(value, name)


def _plain(value: Any) -> Any:
    """A value with every model in it as a dict. What is no JSON, such as a file to upload, stays as it is."""
    if isinstance(value, msgspec.Struct):
        pairs = (
            (wire, getattr(value, name))
            for wire, name in zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
        )
        tag: dict[str, Any] = {}
        config = value.__struct_config__
        if config.tag_field is not None:
            tag[config.tag_field] = config.tag
        return tag | {wire: _plain(each) for wire, each in pairs if each is not msgspec.UNSET}
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in cast("list[Any]", value)]
    return value


def _explained(
    cls: type[Any], args: tuple[Any, ...], fields: Mapping[str, Any], error: TypeError, *, whole: bool = True
) -> TypeError:
    """What is wrong with the names in a call: all of it at once, with the right ones."""
    import difflib

    known: tuple[str, ...] = cls.__struct_fields__
    problems: list[str] = []
    if args:
        problems.append("takes its fields by name only")
    for name in fields:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"its fields are {', '.join(known)}"
            problems.append(f"has no field {name!r}; {hint}")
    if whole and not args:
        required = [field.name for field in msgspec.structs.fields(cls) if field.required and field.name not in fields]
        problems += [f"needs {', '.join(map(repr, required))}"] if required else []
    if not problems:
        return error
    module = cls.__module__.rpartition(".")[2]
    return TypeError(f"{module}.{cls.__qualname__} {' and '.join(problems)}")

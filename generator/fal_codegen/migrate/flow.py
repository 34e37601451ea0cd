"""Following what the calls of `fal_client` give through a file, and deciding which calls can become typed ones.

A call is rewritten only if all that is done with what it gives is understood. One call may hang on another: they give
values to one variable, share a callback or a client. So every call is first taken for understood, and what turns
out not to be is taken back, round by round, until nothing changes any more.

A call whose output goes where it cannot be followed becomes one of `fal_runtime.endpoint(id)`, which takes and gives the
same dicts as before.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import libcst as cst
from libcst.metadata import Assignment, ClassScope

from fal_codegen.migrate.calls import (
    VERBS,
    Edit,
    Inputs,
    Options,
    Refused,
    Site,
    attribute,
    edit_arguments,
    keyword,
    new_arguments,
)
from fal_codegen.migrate.shapes import (
    PLAIN,
    Awaited,
    Client,
    Events,
    Handle,
    Items,
    LogLine,
    Model,
    Module,
    Nothing,
    Package,
    Plain,
    Shape,
    Update,
    shape_of,
)
from fal_codegen.migrate.source import Reference, Source, Unsure, literal_text

__all__ = ["RUNTIME", "Flow", "Round"]

RUNTIME = "fal_runtime"

_STATES = {"Queued": "Queued", "InProgress": "InProgress", "Completed": "Completed", "Status": "Status"}
_CLIENTS = {"SyncClient": False, "AsyncClient": True}
_LINE_KEYS = ("message", "timestamp", "level", "source")
_SAME_AWAITABLE = ("asyncio.create_task", "asyncio.ensure_future", "asyncio.wait_for", "asyncio.shield")


@dataclass(frozen=True)
class Owner:
    """On whose behalf something is followed: a call, or more closely, what it puts out."""

    site: Site | None
    output: bool = False


@dataclass
class Place:
    """What holds values: a variable, an attribute, or a function that is called back."""

    name: str
    expected: list[cst.CSTNode]
    """What gives it a value, or names it."""
    claims: dict[cst.CSTNode, tuple[Shape, Owner]]
    """What of that is understood."""


class Round:
    """One round over a file: the edits, and what was understood on the way."""

    def __init__(self, flow: Flow) -> None:
        self.flow = flow
        self.source = flow.source
        self.edits: dict[cst.CSTNode, dict[str, Edit]] = {}
        self.notes: dict[tuple[cst.CSTNode, str], None] = {}
        self.converted: set[cst.CSTNode] = set()
        """The references to `fal_client` that are gone."""
        self.modules: dict[cst.ImportAlias, list[Module | None]] = {}
        """What has to be imported for what stands in place of a reference; `None` is the runtime."""
        self.changed = False
        self._places: dict[Any, Place] = {}
        self._visited: set[Any] = set()
        self._owner = Owner(None)

    def run(self) -> None:
        """Follow everything that is not given up yet."""
        for reference in self.flow.clients():
            with self._giving_up(Owner(None)):
                self._client_source(reference)
        for site in list(self.flow.sites.values()):
            if site.call not in self.flow.kept:
                with self._giving_up(Owner(site)):
                    self._site(site)
        self._settle()

    @contextmanager
    def _giving_up(self, owner: Owner) -> Generator[None, None, None]:
        """Follow on behalf of an owner; what is not understood takes back what the owner stands for."""
        outer, self._owner = self._owner, owner
        try:
            yield
        except Unsure as problem:
            self.changed |= self.flow.give_up(owner, problem)
        finally:
            self._owner = outer

    def _settle(self) -> None:
        """Take back what shares a place with something that is not understood."""
        for place in self._places.values():
            shapes = {shape for shape, _ in place.claims.values()}
            missing = [node for node in place.expected if node not in place.claims]
            if not missing and len(shapes) == 1:
                continue
            for _, owner in place.claims.values():
                for node in missing or list(place.claims):
                    problem = Unsure(node, f"{place.name} is something else as well, at line {self.source.line(node)}")
                    self.changed |= self.flow.give_up(owner, problem)
                    break

    def _edit(self, node: cst.CSTNode, edit: Edit, kind: str = "use") -> None:
        self.edits.setdefault(node, {})[kind] = edit

    def _note(self, node: cst.CSTNode, text: str) -> None:
        self.notes[node, text] = None

    def _convert(self, reference: Reference, module: Module | None) -> None:
        """A reference is gone, and something of a module or of the runtime stands there."""
        self.converted.add(reference.node)
        self.modules.setdefault(reference.alias, []).append(module)

    # Calls

    def _site(self, site: Site) -> None:
        """Rewrite a call, and follow what it gives."""
        reference = self.flow.reference_of(site)
        if site.verb.startswith(("upload", "encode")):
            self._upload(site)
            self._convert(reference, None)
            self._follow(site.call, Awaited(PLAIN) if site.asynchronous else PLAIN)
            return
        options = Options(site)
        application = options.need("application")
        endpoint_id = self.source.constant(application)
        whole = False
        if "path" in options and site.verb != "stream":
            path = literal_text(options.need("path"))
            if path is None or endpoint_id is None:
                endpoint_id = None  # which endpoint it is, nobody can tell from the id alone
            else:
                whole = True
                endpoint_id += f"/{path.strip('/')}" if path.strip("/") else ""
                application = cst.SimpleString(f'"{endpoint_id}"')
        if site.verb == "stream":
            endpoint_id = self._streaming(options, endpoint_id)
        module = self._module(site, endpoint_id)
        if site.client is None:
            self.converted.add(reference.node)
        self.modules.setdefault(reference.alias, []).append(module)
        name = "" if module is None else self.flow.name_of(module)
        head: cst.BaseExpression = cst.Name(name or RUNTIME)
        if module is None:
            self.flow.plain.add(site.call)
            head = cst.Call(attribute(cst.Name(RUNTIME), "endpoint"), [cst.Arg(application)])
            why = self.flow.untyped.get(site.call)
            if why is not None:
                self._note(site.call, f"untyped, with dicts as before: {why.reason}")
        if site.verb in ("status", "result", "cancel", "get_handle"):
            self._by_id(site, options, module, head)
            return
        verb = site.verb + ("_async" if site.asynchronous else "")
        through = ["endpoint"] if site.verb == "stream" and module is not None and not module.streams else []
        func = attribute(head, *through, verb)
        inputs = Inputs(self.source, module, name) if module is not None else None
        try:
            edit, lost = edit_arguments(site, options, inputs, whole=whole)
        except Refused as problem:
            self.changed |= self.flow.give_up(Owner(site, output=True), problem)
            return
        self._edit(site.call, lambda updated: edit(updated).with_changes(func=func), "call")
        for node, nested in inputs.edits.items() if inputs is not None else ():
            self._edit(node, nested)
        for node, text in inputs.notes if inputs is not None else ():
            self._note(node, text)
        for text in lost:
            self._note(site.call, text)
        if (callback := options.get("on_queue_update")) is not None:
            self._callback(callback)
        if site.verb == "submit":
            handle = Handle(module, site.asynchronous)
            self._follow(site.call, Awaited(handle) if site.asynchronous else handle)
        else:
            self._output(site.call, module, site.asynchronous, stream=site.verb == "stream")

    def _streaming(self, options: Options, endpoint_id: str | None) -> str | None:
        """The id of an endpoint's streaming route, if that has a module of its own."""
        path = literal_text(options.need("path")) if "path" in options else "/stream"
        route = f"{endpoint_id}/{path.strip('/')}" if endpoint_id is not None and path else None
        return route if route is not None and self.flow.package.find(route) is not None else endpoint_id

    def _module(self, site: Site, endpoint_id: str | None) -> Module | None:
        """The module to call instead; `None` for an untyped call."""
        hint = "--untyped makes it fal_runtime.endpoint(id)"
        module = self.flow.package.find(endpoint_id) if endpoint_id is not None else None
        if module is None and not self.flow.also_untyped:
            if endpoint_id is None:
                raise Unsure(site.call, f"the endpoint is known only at run time; {hint}")
            text = f"{self.flow.package.name} has no module for {endpoint_id!r}; `fal-bindings add` makes one, {hint}"
            raise Unsure(site.call, text)
        return None if site.call in self.flow.untyped else module

    def _by_id(self, site: Site, options: Options, module: Module | None, head: cst.BaseExpression) -> None:
        """A call that names a request by its id: `flux_dev.handle(id)`, and then what is asked of it."""
        options.need("request_id")
        place, logs = options.index["request_id"], options.index.get("with_logs")
        method = {"status": "status", "result": "result", "cancel": "cancel"}.get(site.verb)

        def edit(updated: cst.Call) -> cst.CSTNode:
            given = [cst.Arg(updated.args[place].value)]
            if site.client is not None:
                given.append(keyword("client", site.client))
            call = cst.Call(attribute(head, "handle"), given, lpar=updated.lpar, rpar=updated.rpar)
            if method is None:
                return call
            more = [] if logs is None else [keyword("logs", updated.args[logs].value)]
            return cst.Call(attribute(call, method + ("_async" if site.asynchronous else "")), more)

        if method is None and site.asynchronous:  # making a handle asks nobody, so it is not awaited any more
            awaiting = self.source.parent(site.call)
            if not isinstance(awaiting, cst.Await):
                raise Unsure(site.call, "the handle is not awaited where it is made")
            self._edit(site.call, edit, "call")
            self._edit(awaiting, lambda updated: updated.expression)
            self._follow(awaiting, Handle(module, asynchronous=True))
            return
        self._edit(site.call, edit, "call")
        if site.verb == "result":
            self._output(site.call, module, site.asynchronous)
            return
        shapes: dict[str, Shape] = {
            "status": Update(repeated=False),
            "cancel": Nothing(),
            "get_handle": Handle(module, asynchronous=False),
        }
        shape = shapes[site.verb]
        if site.verb == "cancel":
            self._note(site.call, "cancel() returns what the platform says; it raises no more if the request is done")
        self._follow(site.call, Awaited(shape) if site.asynchronous else shape)

    def _upload(self, site: Site) -> None:
        """An upload, or a file written as a data URI: `fal_runtime.upload` and `fal_runtime.data_uri`."""
        options = Options(site)
        names = {"content_type": "content_type", "file_name": "file_name", "lifecycle": "lifecycle"}
        if site.verb in ("upload_image", "encode_image"):
            if site.verb == "encode_image" or literal_text(options.get("format") or cst.Name("jpeg")) not in (
                "png",
                "PNG",
            ):
                raise Unsure(
                    site.call, "the bindings write pictures as PNG; write this one yourself, and upload the bytes"
                )
        elif site.verb in ("upload", "encode") and not self._is_bytes(options.need("data")):
            raise Unsure(site.call, "what is uploaded may be text, which the bindings take for a path; give bytes")
        for name in ("repository", "fallback_repository"):
            if name in options:
                raise Unsure(site.call, f"{name}= has another form in the bindings: {RUNTIME}.upload(..., repository=)")
        if (lifecycle := options.get("lifecycle")) is not None:
            self._lifecycle(lifecycle)
        verb = "data_uri" if site.verb.startswith("encode") else "upload_async" if site.asynchronous else "upload"

        def edit(updated: cst.Call) -> cst.CSTNode:
            changes: dict[int, cst.Arg | None] = {}
            for name, number in options.index.items():
                value = updated.args[number].value
                changes[number] = (
                    None if name == "format" else keyword(names[name], value) if name in names else cst.Arg(value)
                )
            more = [] if site.client is None else [keyword("client", site.client)]
            return new_arguments(updated, changes, more).with_changes(func=attribute(cst.Name(RUNTIME), verb))

        self._edit(site.call, edit, "call")

    def _lifecycle(self, node: cst.BaseExpression) -> None:
        """Storage settings that say no more than when a file expires."""
        references = self.flow.references_in(node)
        plain = isinstance(node, cst.Call) and len(references) == 1 and references[0].node is node.func
        if not plain or references[0].name != "StorageSettings":
            raise Unsure(node, f"these storage settings are not understood; the bindings have {RUNTIME}.Lifecycle")
        for arg in cst.ensure_type(node, cst.Call).args:
            name = "expires_in" if arg.keyword is None else arg.keyword.value
            if name != "expires_in" or arg.star or literal_text(arg.value) == "immediate":
                raise Unsure(node, f"{self.source.code(arg)} has another form in {RUNTIME}.Lifecycle")
        first = (
            keyword("expires_in", cst.ensure_type(node, cst.Call).args[0].value)
            if cst.ensure_type(node, cst.Call).args
            else None
        )
        call = cst.Call(attribute(cst.Name(RUNTIME), "Lifecycle"), [] if first is None else [first])
        self._edit(node, lambda updated: call)
        self._convert(references[0], None)

    def _is_bytes(self, node: cst.BaseExpression) -> bool:
        """Whether a value is certainly bytes."""
        if isinstance(node, cst.SimpleString):
            return "b" in node.prefix
        if isinstance(node, cst.Call) and isinstance(node.func, cst.Attribute):
            return node.func.attr.value in ("encode", "read_bytes", "getvalue", "tobytes")
        if isinstance(node, cst.Call):
            return self.source.code(node.func) in ("bytes", "bytearray")
        assignment = self.source.definition(node) if isinstance(node, cst.Name) else None
        if assignment is None:
            return False
        if isinstance(assignment.node, cst.Param):
            annotation = assignment.node.annotation
            return annotation is not None and self.source.code(annotation.annotation) == "bytes"
        target = self.source.parent(assignment.node)
        holder = self.source.parent(target) if isinstance(target, cst.AssignTarget) else None
        return isinstance(holder, cst.Assign) and self._is_bytes(holder.value)

    def _output(self, call: cst.Call, module: Module | None, asynchronous: bool, *, stream: bool = False) -> None:
        """Follow an output from the call that gives it. Where that fails, the call becomes an untyped one."""
        if module is None:
            return  # a dict, as before
        with self._giving_up(Owner(self._owner.site, output=True)):
            shape = module.output
            if shape is None:
                raise Unsure(call, "what it gives can have several forms")
            if stream:
                self._follow(call, Events(shape))
            else:
                self._follow(call, Awaited(shape) if asynchronous else shape)

    # Clients

    def _client_source(self, reference: Reference) -> None:
        """Follow a client from where it is made, or from a parameter that is one."""
        shape = Client(_CLIENTS[reference.name])
        if self.flow.client_problem is not None:
            return
        if not self.source.is_global(reference.alias):
            raise Unsure(
                reference.node, "fal_client is imported inside of a function; import it at the top, then migrate"
            )
        parent = self.source.parent(reference.node)
        if isinstance(parent, cst.Call) and parent.func is reference.node:
            names = {"key": "key", "default_timeout": "timeouts"}
            given = [arg.keyword.value if arg.keyword is not None else "" for arg in parent.args]
            if any(name not in names for name in given):
                raise Unsure(parent, "the client is given something that is not understood")

            def edit(updated: cst.Call) -> cst.CSTNode:
                changes: dict[int, cst.Arg | None] = {}
                for number, name in enumerate(given):
                    value = updated.args[number].value
                    if name == "default_timeout":
                        value = cst.Call(attribute(cst.Name(RUNTIME), "Timeouts"), [keyword("attempt", value)])
                    changes[number] = keyword(names[name], value)
                call = new_arguments(updated, changes, [])
                return call.with_changes(func=attribute(cst.Name(RUNTIME), "Client"))

            self._edit(parent, edit)
            self._convert(reference, None)
            self._follow(parent, shape)
        elif isinstance(parent, cst.Annotation):
            holder = self.source.parent(parent)
            self._edit(reference.node, _runtime("Client"))
            self._convert(reference, None)
            if isinstance(holder, cst.Param):
                self._client_parameter(holder, shape)
            elif not isinstance(holder, cst.AnnAssign) or not self._is_new_client(holder.value):
                raise Unsure(reference.node, "who gives this client, or gets it, is not known")
        else:
            raise Unsure(reference.node, "the class of clients is used in a way that is not understood")

    def _is_new_client(self, value: cst.BaseExpression | None) -> bool:
        references = self.flow.references_in(value.func) if isinstance(value, cst.Call) else []
        return len(references) == 1 and references[0].name in _CLIENTS

    def _client_parameter(self, param: cst.Param, shape: Shape) -> None:
        function = next(node for node in self.source.ancestors(param) if isinstance(node, cst.FunctionDef | cst.Lambda))
        assignment = self.source.assignment(param)
        if param.default is not None or not isinstance(function, cst.FunctionDef) or function.decorators:
            raise Unsure(param, "who gives this client is not known")
        if function.name.value in self.source.foreign:
            raise Unsure(param, f"other files call {function.name.value}, with clients of theirs")
        self._place(param, param.name.value, lambda: self._given(function, param))
        if assignment is None or len(self.source.all_of(assignment)) > 1:
            raise Unsure(param, f"{param.name.value} is given other values in the function")
        for use in self.source.uses(assignment):
            self._follow(use, shape)

    def _calls_of(self, function: cst.FunctionDef) -> Iterable[cst.Call]:
        """The calls of a function. Raises `Unsure` if it is named without being called."""
        for use in self._names_of(function):
            parent = self.source.parent(use)
            if not isinstance(parent, cst.Call) or parent.func is not use:
                raise Unsure(use, f"{function.name.value} is passed on")
            yield parent

    def _names_of(self, function: cst.FunctionDef) -> list[cst.CSTNode]:
        """Where a function is named."""
        assignment = self.source.assignment(function)
        if assignment is None or len(self.source.all_of(assignment)) > 1:
            raise Unsure(function, f"there are several {function.name.value}")
        names: list[cst.CSTNode] = list(self.source.uses(assignment))
        owner = self._class_of(function)
        for use in self.source.attributes.get(function.name.value, []) if owner is not None else ():
            if self._class_behind(use.value) is not owner:
                raise Unsure(use, f"{self.source.code(use)} may be a method of something else")
            names.append(use)
        return names

    def _class_of(self, node: cst.CSTNode) -> cst.ClassDef | None:
        """The class whose method a function is."""
        outer = [each for each in self.source.ancestors(node) if isinstance(each, cst.ClassDef | cst.FunctionDef)]
        first = outer[0] if outer else None
        return first if isinstance(first, cst.ClassDef) else None

    # Callbacks

    def _callback(self, value: cst.BaseExpression) -> None:
        """Follow the updates into the function that is called with them."""
        if isinstance(value, cst.Name) and value.value == "None":
            return
        if isinstance(value, cst.Lambda):
            self._parameter(value, value.params, 0)
            return
        function, first = self._function(value)
        if function is None:
            if isinstance(value, cst.Name) and value.value == "print" and self.source.definition(value) is None:
                self._note(value, "the updates are printed in another form")
                return
            raise Unsure(value, f"what gets the updates, {self.source.code(value)}, is no function of this file")
        if function.decorators or function.name.value in self.source.foreign:
            raise Unsure(value, f"{function.name.value} may be called by others, with updates of fal_client")
        place = self._place(function, function.name.value, lambda: self._names_of(function))
        place.claims[value] = Update(repeated=True), self._owner
        self._parameter(function, function.params, first)

    def _function(self, value: cst.BaseExpression) -> tuple[cst.FunctionDef | None, int]:
        """The function that an expression names, and which of its parameters is its first argument."""
        if isinstance(value, cst.Name):
            assignment = self.source.definition(value)
            node = assignment.node if assignment is not None else None
            return (node, 0) if isinstance(node, cst.FunctionDef) else (None, 0)
        owner = self._class_behind(value.value) if isinstance(value, cst.Attribute) else None
        if isinstance(value, cst.Attribute) and owner is not None:
            for statement in owner.body.body:
                if isinstance(statement, cst.FunctionDef) and statement.name.value == value.attr.value:
                    return statement, 1
        return None, 0

    def _class_behind(self, value: cst.BaseExpression) -> cst.ClassDef | None:
        """The class of this file of which a value is: `self`, or a variable that is given a new object, once."""
        if _is_self(value):
            return next((node for node in self.source.ancestors(value) if isinstance(node, cst.ClassDef)), None)
        assignment = self.source.definition(value) if isinstance(value, cst.Name) else None
        target = self.source.parent(assignment.node) if assignment is not None else None
        holder = self.source.parent(target) if isinstance(target, cst.AssignTarget) else None
        made = holder.value if isinstance(holder, cst.Assign) else None
        if not isinstance(made, cst.Call) or not isinstance(made.func, cst.Name):
            return None
        definition = self.source.definition(made.func)
        return definition.node if definition is not None and isinstance(definition.node, cst.ClassDef) else None

    def _parameter(self, function: cst.FunctionDef | cst.Lambda, params: cst.Parameters, number: int) -> None:
        positional = [*params.posonly_params, *params.params]
        if len(positional) <= number:
            raise Unsure(function, "the function takes the update in a way that is not understood")
        param = positional[number]
        if param.annotation is not None:
            self._states(param.annotation)
        assignment = self.source.assignment(param)
        if assignment is None or len(self.source.all_of(assignment)) > 1:
            raise Unsure(param, f"{param.name.value} is given other values in the function")
        if self._first_visit(param, PLAIN):
            for use in self.source.uses(assignment):
                self._follow(use, Update(repeated=True))

    def _states(self, node: cst.CSTNode) -> None:
        """Turn the classes of queue updates that are named in an expression into ours."""
        for reference in self.flow.references_in(node):
            if reference.name not in _STATES:
                raise Unsure(reference.node, f"fal_client.{reference.name} is not understood here")
            self._edit(reference.node, _runtime(_STATES[reference.name]))
            self._convert(reference, None)

    # Places

    def _place(self, key: Any, name: str, expected: Callable[[], list[cst.CSTNode]]) -> Place:
        if key not in self._places:
            self._places[key] = Place(name, expected(), {})
        return self._places[key]

    def _first_visit(self, key: Any, shape: Shape) -> bool:
        visit = key, shape, self._owner
        new = visit not in self._visited
        self._visited.add(visit)
        return new

    def _bind(self, target: cst.CSTNode, shape: Shape) -> None:
        """A value is given to a name: follow the name."""
        if isinstance(shape, Plain):
            return
        if isinstance(target, cst.Attribute):
            self._bind_attribute(target, shape)
            return
        assignment = self.source.assignment(target) if isinstance(target, cst.Name) else None
        if assignment is None:
            raise Unsure(target, f"what it gives is put into {self.source.code(target)}")
        if self.source.is_shared(assignment):
            raise Unsure(target, f"other files read {assignment.name}")
        if isinstance(assignment.scope, ClassScope):
            raise Unsure(target, f"{assignment.name} is an attribute of a class")
        self._claim_variable(assignment, target, shape)

    def _claim_variable(self, assignment: Assignment, node: cst.CSTNode, shape: Shape) -> None:
        key = assignment.scope, assignment.name
        place = self._place(key, assignment.name, lambda: self._givers(assignment))
        place.claims[node] = shape, self._owner
        if self._first_visit(key, shape):
            for use in self.source.uses(assignment):
                if self._appended(use) is None:
                    self._follow(use, shape)

    def _givers(self, assignment: Assignment) -> list[cst.CSTNode]:
        """What gives a variable something: its assignments but those of nothing, and what is appended to it."""
        givers: list[cst.CSTNode] = []
        for each in self.source.all_of(assignment):
            node = each.node if isinstance(each, Assignment) else assignment.node
            holder = self.source.parent(node)
            holder = self.source.parent(holder) if isinstance(holder, cst.AssignTarget) else holder
            value = holder.value if isinstance(holder, cst.Assign | cst.AnnAssign) else None
            if not _is_nothing(value):
                givers.append(node)
        givers += [given for use in self.source.uses(assignment) if (given := self._appended(use)) is not None]
        return givers

    def _appended(self, use: cst.CSTNode) -> cst.CSTNode | None:
        """What is appended to a list here."""
        parent = self.source.parent(use)
        if isinstance(parent, cst.Attribute) and parent.value is use and parent.attr.value == "append":
            call = self.source.parent(parent)
            if isinstance(call, cst.Call) and call.func is parent and len(call.args) == 1:
                return call.args[0].value
        return None

    def _bind_attribute(self, target: cst.Attribute, shape: Shape) -> None:
        name = target.attr.value
        every = self.source.attributes[name]
        owner = next((node for node in self.source.ancestors(target) if isinstance(node, cst.ClassDef)), None)
        if not _is_self(target.value) or owner is None:
            raise Unsure(target, f"what it gives is put into {self.source.code(target)}")
        if name in self.source.foreign or any(
            not _is_self(each.value) or owner not in self.source.ancestors(each) for each in every
        ):
            raise Unsure(target, f"others read the attribute {name}")
        stores = [each for each in every if isinstance(self.source.parent(each), cst.AssignTarget | cst.AnnAssign)]
        place = self._place((owner, name), f"self.{name}", lambda: list(stores))
        place.claims[target] = shape, self._owner
        if self._first_visit((owner, name), shape):
            for use in every:
                if use not in stores:
                    self._follow(use, shape)

    # Values

    def _follow(self, node: cst.CSTNode, shape: Shape) -> None:
        """Understand what is done with a value, or raise `Unsure`."""
        if isinstance(shape, Plain):
            return
        parent = self.source.parent(node)
        if isinstance(parent, cst.Expr):
            return
        if isinstance(parent, cst.Assign):
            for each in parent.targets:
                self._bind(each.target, shape)
            return
        if isinstance(parent, cst.AnnAssign):
            self._annotated(parent, shape)
            return
        if isinstance(parent, cst.Await) and isinstance(shape, Awaited):
            self._follow(parent, shape.result)
            return
        if isinstance(parent, cst.Arg):
            self._argument(node, parent, shape)
            return
        if isinstance(parent, cst.ListComp | cst.GeneratorExp) and parent.elt is node:
            self._follow(parent, Items(shape))
            return
        if isinstance(parent, cst.For | cst.CompFor) and parent.iter is node and isinstance(shape, Items | Events):
            self._bind(parent.target, shape.item)
            return
        if self._asks_whether(node, parent, shape):
            return
        if isinstance(parent, cst.BooleanOperation) and isinstance(parent.operator, cst.Or) and parent.left is node:
            empty = isinstance(parent.right, cst.List) and not parent.right.elements
            if empty and isinstance(shape, Items):
                self._follow(parent, shape)
                return
        if isinstance(parent, cst.IfExp) and node in (parent.body, parent.orelse):
            other = parent.orelse if node is parent.body else parent.body
            if isinstance(other, cst.Name) and other.value == "None":
                self._follow(parent, shape)
                return
        if isinstance(shape, Model | LogLine | Items) and self._subscript(node, parent, shape):
            return
        if isinstance(parent, cst.Attribute) and parent.value is node:
            self._attribute(parent, shape)
            return
        if isinstance(parent, cst.Return):
            self._returned(node, parent, shape)
            return
        if isinstance(parent, cst.Match) and isinstance(shape, Update):
            self._match(parent)
            return
        raise Unsure(node, self._where(node, parent))

    def _asks_whether(self, node: cst.CSTNode, parent: cst.CSTNode, shape: Shape) -> bool:
        """Whether a value is only asked for being there, or empty."""
        if isinstance(shape, Model) and not any(field.required for field in shape.fields.values()):
            return False  # an empty dict is false, but an object is not
        if isinstance(parent, cst.Comparison) and parent.left is node and len(parent.comparisons) == 1:
            right = parent.comparisons[0]
            is_none = isinstance(right.comparator, cst.Name) and right.comparator.value == "None"
            return is_none and isinstance(right.operator, cst.Is | cst.IsNot)
        while isinstance(parent, cst.BooleanOperation):
            node, parent = parent, self.source.parent(parent)
        if isinstance(parent, cst.If | cst.While | cst.IfExp | cst.Assert | cst.CompIf):
            return parent.test is node
        return isinstance(parent, cst.UnaryOperation) and isinstance(parent.operator, cst.Not)

    def _where(self, node: cst.CSTNode, parent: cst.CSTNode) -> str:
        """What is done with a value that cannot be followed, as a reason."""
        line = self.source.line(node)
        if isinstance(parent, cst.Return | cst.Yield):
            return f"what it gives is returned at line {line}"
        if isinstance(parent, cst.Arg):
            call = self.source.parent(parent)
            name = self.source.code(call.func) if isinstance(call, cst.Call) else self.source.code(call)
            return f"what it gives is passed to {name} at line {line}"
        if isinstance(parent, cst.Attribute):
            return f".{parent.attr.value} of what it gives is used at line {line}"
        text = " ".join(self.source.code(parent).split())
        return f"what it gives is used in `{text if len(text) <= 60 else text[:57] + '...'}` at line {line}"

    def _annotated(self, parent: cst.AnnAssign, shape: Shape) -> None:
        """A value is given to a name that has a type."""
        references = self.flow.references_in(parent.annotation)
        wanted: Iterable[str] = ()
        if isinstance(shape, Client | Update):
            wanted = _CLIENTS if isinstance(shape, Client) else _STATES
        elif isinstance(shape, Handle):
            wanted = ["AsyncRequestHandle" if shape.asynchronous else "SyncRequestHandle"]
        whole = len(references) == 1 and references[0].node is parent.annotation.annotation
        if not whole or references[0].name not in wanted:
            raise Unsure(parent, f"what it gives gets a type of its own at line {self.source.line(parent)}")
        reference = references[0]
        if isinstance(shape, Handle):
            if shape.module is None:
                raise Unsure(parent, f"what it gives gets a type of its own at line {self.source.line(parent)}")
            output = attribute(cst.Name(self.flow.name_of(shape.module)), "Output")
            generic = cst.Subscript(attribute(cst.Name(RUNTIME), "Handle"), [cst.SubscriptElement(cst.Index(output))])
            self._edit(reference.node, lambda updated: generic)
            self._convert(reference, None)
        elif isinstance(shape, Update):
            self._states(parent.annotation)
        self._bind(parent.target, shape)

    def _argument(self, node: cst.CSTNode, arg: cst.Arg, shape: Shape) -> None:
        """A value is passed to a function."""
        call = self.source.parent(arg)
        unknown = Unsure(node, self._where(node, arg))
        if not isinstance(call, cst.Call):
            raise unknown
        name = self.source.code(call.func)
        number = list(call.args).index(arg)
        whole = isinstance(shape, Items) and shape.whole
        if name == "len" and isinstance(shape, Items) and not whole:
            return
        if name == "type" and isinstance(shape, Update) and self._asks_name(call):
            return
        if name == "isinstance" and number == 0 and isinstance(shape, Update) and len(call.args) == 2:
            self._states(call.args[1].value)
            return
        if name in ("enumerate", "zip", "list", "tuple", "reversed") and isinstance(shape, Items) and not arg.star:
            if name == "zip" and not whole:
                self._unpacked(call, number, shape.item)
                return
            if name == "enumerate" and number == 0 and not whole:
                self._unpacked(call, 1, shape.item)
                return
            if name in ("list", "tuple", "reversed"):
                self._follow(call, shape)
                return
        if isinstance(shape, Awaited) and not arg.star:
            if number == 0 and (name in _SAME_AWAITABLE or name.endswith(".create_task")):
                self._follow(call, shape)
                return
            if name in ("asyncio.run", "loop.run_until_complete") and number == 0:
                self._follow(call, shape.result)
                return
        if isinstance(shape, Items) and isinstance(shape.item, Awaited):
            if name == "asyncio.gather" and arg.star == "*" and len(call.args) == 1:
                self._follow(call, Awaited(Items(shape.item.result)))
                return
            if name == "asyncio.as_completed" and number == 0:
                self._follow(call, shape)
                return
        if isinstance(call.func, cst.Attribute) and call.func.attr.value == "append" and len(call.args) == 1:
            holder = call.func.value
            assignment = self._list_variable(holder)
            if assignment is not None:
                self._claim_variable(assignment, node, Items(shape))
                return
        if not arg.star:
            self._passed(call, arg, shape, unknown)
            return
        raise unknown

    def _asks_name(self, call: cst.Call) -> bool:
        """Whether a call of `type` is for the class's name, which is the same as before."""
        parent = self.source.parent(call)
        return len(call.args) == 1 and isinstance(parent, cst.Attribute) and parent.attr.value == "__name__"

    def _list_variable(self, node: cst.BaseExpression) -> Assignment | None:
        """The variable of a list that starts empty, if an expression names one."""
        assignment = self.source.definition(node) if isinstance(node, cst.Name) else None
        if assignment is None or self.source.is_shared(assignment):
            return None
        holder = self.source.parent(assignment.node)
        holder = self.source.parent(holder) if isinstance(holder, cst.AssignTarget) else holder
        plain = isinstance(holder, cst.Assign) and isinstance(holder.value, cst.List) and not holder.value.elements
        return assignment if plain else None

    def _unpacked(self, call: cst.Call, number: int, item: Shape) -> None:
        """The values come out of a call as a part of tuples."""
        parent = self.source.parent(call)
        if isinstance(parent, cst.For | cst.CompFor) and parent.iter is call and isinstance(parent.target, cst.Tuple):
            elements = parent.target.elements
            if number < len(elements):
                self._bind(elements[number].value, item)
                return
        raise Unsure(call, self._where(call, parent))

    def _passed(self, call: cst.Call, arg: cst.Arg, shape: Shape, unknown: Unsure) -> None:
        """A value is passed to a function of this file, every call of which passes such a value."""
        function, first = self._function(call.func)
        if function is None or function.decorators or function.name.value in self.source.foreign:
            raise unknown
        parameters = (*function.params.posonly_params, *function.params.params, *function.params.kwonly_params)
        param = next((each for each in parameters if _argument(call, each, function, first) is arg), None)
        if param is None or param.default is not None:
            raise unknown
        place = self._place(param, param.name.value, lambda: self._given(function, param))
        place.claims[arg] = shape, self._owner
        if isinstance(shape, Client) and param.annotation is not None:
            types = self.flow.references_in(param.annotation)
            if not any(each.name in _CLIENTS for each in types):
                raise unknown
            return  # it is followed from there
        if param.annotation is not None:
            if not isinstance(shape, Update):
                raise unknown
            self._states(param.annotation)
        assignment = self.source.assignment(param)
        if assignment is None or len(self.source.all_of(assignment)) > 1:
            raise Unsure(param, f"{param.name.value} is given other values in the function")
        if self._first_visit(param, shape):
            for use in self.source.uses(assignment):
                self._follow(use, shape)

    def _returned(self, node: cst.CSTNode, statement: cst.Return, shape: Shape) -> None:
        """A value is returned by a function of this file: follow it where the function is called."""
        unknown = Unsure(node, self._where(node, statement))
        function = next((each for each in self.source.ancestors(statement) if isinstance(each, cst.FunctionDef)), None)
        if function is None or function.decorators or function.returns or function.name.value in self.source.foreign:
            raise unknown
        calls = list(self._calls_of(function))
        if not calls:
            raise unknown
        place = self._place(
            (function, "return"), f"what {function.name.value} returns", lambda: self._returns(function)
        )
        place.claims[statement] = shape, self._owner
        if self._first_visit((function, "return"), shape):
            for call in calls:
                self._follow(call, Awaited(shape) if function.asynchronous else shape)

    def _returns(self, function: cst.FunctionDef) -> list[cst.CSTNode]:
        """The statements with which a function returns something. Raises `Unsure` if it is a generator."""
        finder = _Returns()
        function.body.visit(finder)
        if finder.generates:
            raise Unsure(function, f"{function.name.value} is a generator")
        return [each for each in finder.statements if each.value is not None and not _is_nothing(each.value)]

    def _given(self, function: cst.FunctionDef, param: cst.Param) -> list[cst.CSTNode]:
        """What the calls of a function give for a parameter."""
        first = 0 if self._class_of(function) is None else 1
        calls = list(self._calls_of(function))
        given = [_argument(call, param, function, first) for call in calls]
        if not calls:
            raise Unsure(param, f"who calls {function.name.value} is not known")
        if None in given:
            raise Unsure(param, f"not every call of {function.name.value} gives {param.name.value!r} in its place")
        return [arg for arg in given if arg is not None]

    def _subscript(self, node: cst.CSTNode, parent: cst.CSTNode, shape: Model | LogLine | Items) -> bool:
        """`value["field"]`, `value.get("field")` and `value[0]`."""
        if isinstance(parent, cst.Subscript) and parent.value is node:
            index = parent.slice[0].slice if len(parent.slice) == 1 else None
            holder = self.source.parent(parent)
            targets = isinstance(holder, cst.AugAssign | cst.AnnAssign | cst.For) and holder.target is parent
            if targets or isinstance(holder, cst.AssignTarget | cst.Del):
                raise Unsure(node, f"what it gives is changed at line {self.source.line(node)}")
            if isinstance(shape, Items):
                if shape.whole:
                    raise Unsure(
                        node, f"updates bring new log lines only, but they are counted at line {self.source.line(node)}"
                    )
                self._follow(parent, shape if isinstance(index, cst.Slice) else shape.item)
                return True
            key = literal_text(index.value) if isinstance(index, cst.Index) else None
            if key is None:
                raise Unsure(node, self._where(node, parent))
            name, inner = self._field(parent, shape, key)
            self._edit(parent, lambda updated: _named(updated, updated.value, name))
            self._follow(parent, inner)
            return True
        if isinstance(shape, Items) or not isinstance(parent, cst.Attribute) or parent.attr.value != "get":
            return False
        call = self.source.parent(parent)
        if not isinstance(call, cst.Call) or call.func is not parent or not call.args:
            return False
        key = literal_text(call.args[0].value)
        if key is None or any(arg.keyword or arg.star for arg in call.args):
            raise Unsure(node, self._where(node, parent))
        name, inner = self._field(call, shape, key)
        if len(call.args) > 1 and not self._always(shape, key, call.args[1].value):
            raise Unsure(
                node, f"{key!r} may be absent, and gets a value of its own then, at line {self.source.line(node)}"
            )
        self._edit(call, lambda updated: _named(updated, updated.func.value, name))
        self._follow(call, inner)
        return True

    def _always(self, shape: Shape, key: str, default: cst.BaseExpression) -> bool:
        """Whether a field is there in every answer, or its absence reads as the value given for that."""
        if isinstance(default, cst.Name) and default.value == "None":
            return True
        if isinstance(shape, Model):
            return shape.fields[key].required
        return key in ("message", "timestamp") and literal_text(default) == ""

    def _field(self, node: cst.CSTNode, shape: Model | LogLine, key: str) -> tuple[str, Shape]:
        """The attribute for a key, and what it holds."""
        if isinstance(shape, LogLine):
            if key not in _LINE_KEYS:
                raise Unsure(node, f"a log line has no {key!r}")
            return key, PLAIN
        field = shape.fields.get(key)
        if field is None:
            raise Unsure(node, f"the schema has no field {key!r}, which is read at line {self.source.line(node)}")
        inner = shape_of(field.type)
        if inner is None:
            raise Unsure(node, f"{key!r} can have several forms")
        if not field.required and isinstance(node, cst.Subscript) and self._catches_absence(node):
            raise Unsure(
                node, f"{key!r} may be absent, which is caught as an error around line {self.source.line(node)}"
            )
        return field.name, inner

    def _catches_absence(self, node: cst.CSTNode) -> bool:
        """Whether the error of a key that is not there would be caught."""
        for outer in self.source.ancestors(node):
            for handler in outer.handlers if isinstance(outer, cst.Try) else ():
                text = self.source.code(handler.type) if handler.type is not None else "KeyError"
                if any(name in text for name in ("KeyError", "LookupError")):
                    return True
        return False

    def _attribute(self, node: cst.Attribute, shape: Shape) -> None:
        """`value.name`, and calls of it."""
        name = node.attr.value
        parent = self.source.parent(node)
        call = parent if isinstance(parent, cst.Call) and parent.func is node else None
        if isinstance(shape, Update) and name in ("position", "metrics", "error", "error_type"):
            return
        if isinstance(shape, Update) and name == "logs":
            self._follow(node, Items(LogLine(), whole=shape.repeated))
            return
        if isinstance(shape, Client) and call is not None and name in VERBS:
            self.changed |= self.flow.add_client_site(Site(call, name, shape.asynchronous, node.value))
            return
        if isinstance(shape, Handle):
            if name == "request_id":
                return
            if call is not None and name in ("get", "status", "iter_events", "cancel"):
                self._of_handle(call, name, shape)
                return
        raise Unsure(node, f".{name} of what it gives is used at line {self.source.line(node)}")

    def _of_handle(self, call: cst.Call, name: str, shape: Handle) -> None:
        """A method of a handle."""
        given = [arg.keyword.value if arg.keyword is not None else "" for arg in call.args]
        if any(keyword_ not in ("with_logs", "interval") for keyword_ in given):
            raise Unsure(call, f"the arguments of .{name} are not understood")
        method = {"get": "result", "iter_events": "events"}.get(name, name) + ("_async" if shape.asynchronous else "")

        def edit(updated: cst.Call) -> cst.CSTNode:
            changes: dict[int, cst.Arg | None] = {
                number: None if each == "interval" else keyword("logs", updated.args[number].value)
                for number, each in enumerate(given)
            }
            func = cst.ensure_type(updated.func, cst.Attribute)
            return new_arguments(updated, changes, []).with_changes(func=func.with_changes(attr=cst.Name(method)))

        self._edit(call, edit, "call")
        if "interval" in given:
            self._note(call, "interval is gone: the bindings follow the queue's own events")
        if name == "get":
            self._output(call, shape.module, shape.asynchronous)
        elif name == "iter_events":
            self._follow(call, Events(Update(repeated=True)))
        else:
            if name == "cancel":
                self._note(call, "cancel() returns what the platform says; it raises no more if the request is done")
            inner: Shape = Update(repeated=False) if name == "status" else Nothing()
            self._follow(call, Awaited(inner) if shape.asynchronous else inner)

    def _match(self, match: cst.Match) -> None:
        """An update is told apart by its class."""
        for case in match.cases:
            for reference in self.flow.references_in(case.pattern):
                pattern = self.source.parent(reference.node)
                if not isinstance(pattern, cst.MatchClass) or pattern.patterns or pattern.kwds:
                    raise Unsure(reference.node, "the pattern is not understood")
            self._states(case.pattern)


class Flow:
    """The calls of a file, and which of them are given up, and why.

    Args:
        source: The file.
        package: Where the typed modules are.
        also_untyped: Whether calls of endpoints that have no module become untyped ones.
    """

    def __init__(self, source: Source, package: Package, *, also_untyped: bool = False) -> None:
        self.source = source
        self.package = package
        self.sites: dict[cst.CSTNode, Site] = {}
        self.kept: dict[cst.CSTNode, Unsure] = {}
        """The calls that stay as they are."""
        self.untyped: dict[cst.CSTNode, Unsure] = {}
        """The calls that become untyped ones."""
        self.also_untyped = also_untyped
        self.plain: set[cst.CSTNode] = set()
        """The calls that have no module, or do not use it."""
        self.client_problem: Unsure | None = None
        self._names: dict[str, str] = {}
        self._by_node = {reference.node: reference for reference in source.references}
        for reference in source.references:
            verb = reference.name.removesuffix("_async")
            call = source.parent(reference.node)
            if verb in VERBS and verb != "get_handle" and isinstance(call, cst.Call) and call.func is reference.node:
                self.sites[call] = Site(call, verb, reference.name.endswith("_async"))

    def settle(self) -> Round:
        """Follow everything, round by round, until nothing is given up any more."""
        while True:
            current = Round(self)
            current.run()
            if not current.changed:
                return current

    def block(self, problem: Unsure) -> None:
        """Let every call stay."""
        text = f"{problem.reason} (line {self.source.line(problem.node)}), and this call would raise our errors"
        for call in self.sites:
            self.kept[call] = Unsure(call, text)
        self.client_problem = Unsure(problem.node, text)

    def clients(self) -> list[Reference]:
        """Where clients come from."""
        return [reference for reference in self.source.references if reference.name in _CLIENTS]

    def add_client_site(self, site: Site) -> bool:
        """A call by a client was found; return whether it is new."""
        new = site.call not in self.sites
        self.sites.setdefault(site.call, site)
        return new

    def give_up(self, owner: Owner, problem: Unsure) -> bool:
        """Take back what an owner stands for; return whether that changes anything."""
        if owner.output and owner.site is not None and owner.site.call not in self.untyped:
            self.untyped[owner.site.call] = problem
            return True
        if owner.site is not None and owner.site.client is None:
            new = owner.site.call not in self.kept
            self.kept.setdefault(owner.site.call, problem)
            return new
        # Clients are converted together or not at all: a call by one that stays needs the old client.
        new = self.client_problem is None
        self.client_problem = self.client_problem or problem
        if owner.site is not None:
            self.kept.setdefault(owner.site.call, problem)
        text = f"it goes by a client, and those stay because of line {self.source.line(self.client_problem.node)}"
        for site in self.sites.values():
            if site.client is not None:
                self.kept.setdefault(site.call, Unsure(site.call, text))
        return new

    def reference_of(self, site: Site) -> Reference:
        """The reference that a call goes by: its own, or that of a client."""
        if site.client is not None:
            return self.clients()[0]
        return self._by_node[site.call.func]

    def references_in(self, node: cst.CSTNode) -> list[Reference]:
        """The references inside a node, or that are the node."""
        return [
            reference
            for reference in self.source.references
            if reference.node is node or node in self.source.ancestors(reference.node)
        ]

    def name_of(self, module: Module) -> str:
        """What an endpoint's module is called in the file: by its own name, unless that is taken."""
        if module.endpoint_id not in self._names:
            taken = {*self.source.names, *self._names.values()}
            names = (module.name, f"{module.name}_endpoint", *(f"{module.name}_endpoint{n}" for n in range(2, 1000)))
            self._names[module.endpoint_id] = next(name for name in names if name not in taken)
        return self._names[module.endpoint_id]


class _Returns(cst.CSTVisitor):
    """Finds the statements that return from a function, but not those of functions inside of it."""

    def __init__(self) -> None:
        super().__init__()
        self.statements: list[cst.Return] = []
        self.generates = False

    def visit_FunctionDef(self, node: cst.FunctionDef) -> bool:  # noqa: N802
        return False

    def visit_Lambda(self, node: cst.Lambda) -> bool:  # noqa: N802
        return False

    def visit_Return(self, node: cst.Return) -> None:  # noqa: N802
        self.statements.append(node)

    def visit_Yield(self, node: cst.Yield) -> None:  # noqa: N802
        self.generates = True


def _is_self(node: cst.BaseExpression) -> bool:
    return isinstance(node, cst.Name) and node.value == "self"


def _is_nothing(value: cst.CSTNode | None) -> bool:
    """Whether a value is `None` or an empty list."""
    if isinstance(value, cst.Name):
        return value.value == "None"
    return isinstance(value, cst.List) and not value.elements


def _argument(call: cst.Call, param: cst.Param, function: cst.FunctionDef, first: int = 0) -> cst.Arg | None:
    """What a call gives for a parameter."""
    positional = [*function.params.posonly_params, *function.params.params]
    number = positional.index(param) - first if param in positional else None
    for index, arg in enumerate(call.args):
        if arg.star:
            return None
        if arg.keyword is not None and arg.keyword.value == param.name.value:
            return arg
        if arg.keyword is None and index == number:
            return arg
    return None


def _runtime(name: str) -> Edit:
    return lambda updated: attribute(cst.Name(RUNTIME), name)


def _named(updated: Any, value: cst.BaseExpression, name: str) -> cst.Attribute:
    """An attribute in place of a subscript or call, in the same parentheses."""
    return cst.Attribute(value, cst.Name(name), lpar=updated.lpar, rpar=updated.rpar)

"""The ways in which a listed server can be run or reached from here, and what has to be asked for each.

What somebody published says only which package is run, with which arguments; which program runs it is decided here, and
its name cannot be taken for an option, nor can a variable lead that program elsewhere. What a package then does is its
own affair: so the whole command line is shown before, and each variable and header. Knows nothing of the store.
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from metamcp_asgi.errors import MetaMCPError
from metamcp_asgi.registry.listed import Argument, Input, Listed, Package, Transport

__all__ = ["Question", "Way", "WrongAnswer", "ways_of"]

_IN_BRACES: Final = re.compile(r"\{([A-Za-z0-9_.-]{1,100})\}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,199}")
_STEERING: Final = re.compile(
    r"npm_config_.*|node_options|node_path|path|(uv|pip|docker|ld|dyld)_.*|python.*", re.IGNORECASE | re.DOTALL
)
"""Variables that say to ``npx``, ``uvx`` or ``docker`` where a package comes from, or what else is run."""
_PLAIN: Final = re.compile(r"[^\s'\"\\$`;&|*?]+")
_TYPES: Final = {"streamable-http": "streamable_http", "sse": "sse"}
_PACKAGES: Final[Mapping[str, tuple[str, tuple[str, ...], re.Pattern[str], str]]] = {
    "npm": ("npx", ("-y",), re.compile(r"(@[a-z0-9~][\w.~-]*/)?[A-Za-z0-9~][\w.~-]*"), "registry.npmjs.org"),
    "pypi": ("uvx", (), re.compile(r"[A-Za-z0-9][\w.-]*"), "pypi.org"),
    "oci": ("docker", ("run", "-i", "--rm"), re.compile(r"[A-Za-z0-9][\w./:@-]*"), "docker.io"),
}
"""Of each kind that can be run: its runner, that one's first arguments, how a package is named, where it comes from."""
_VERSION: Final = re.compile(r"[A-Za-z0-9][\w.+!-]*")


class WrongAnswer(MetaMCPError):
    """An answer that is not possible, or missing.

    Args:
        key: That of its question.
        reason: What would be right.
    """

    def __init__(self, key: str, reason: str) -> None:
        self.key = key
        self.reason = reason
        super().__init__(f"{key}: {reason}")


class Question(Struct, frozen=True, kw_only=True):
    """What somebody has to give, or may.

    Args:
        key: By what an answer is known.
        label: What it is, in the publisher's words: a variable, a header, an argument.
        description: The same at length.
        required: Whether the server does not work without.
        secret: Whether nobody else may see it.
        default: What it is unless somebody says otherwise.
        placeholder: An example.
        choices: The only answers that are possible; empty: any.
    """

    key: str
    label: str
    description: str
    required: bool
    secret: bool
    default: str
    placeholder: str
    choices: Sequence[str]


class _Part(Struct, frozen=True):
    """A text with questions in it; ``name`` is that of its variable or header, or the flag of an argument."""

    name: str
    pieces: Sequence[str | Question]

    def filled(self, answers: Mapping[str, str]) -> str | None:
        """Return the text; ``None`` when it has questions, and none of them was answered."""
        questions = [piece for piece in self.pieces if isinstance(piece, Question)]
        if questions and not any(answers[question.key] for question in questions):
            return None
        return "".join(piece if isinstance(piece, str) else answers[piece.key] for piece in self.pieces)

    @property
    def asked(self) -> bool:
        """Whether all of it is one question."""
        return len(self.pieces) == 1 and isinstance(self.pieces[0], Question)

    def argument(self, text: str) -> list[str]:
        """Return the arguments of a command line that the text is."""
        if not self.name:
            return [text]
        if not text:
            return [self.name]
        return [f"{self.name}={text}"] if self.name.startswith("--") else [self.name, text]


class Way(Struct, frozen=True, kw_only=True):
    """One way to have a server.

    Args:
        id: By what it is known among those of its server: ``package-0``.
        kind: ``npm``, ``pypi``, ``oci`` and so on, or ``remote``.
        place: The package with its version, or the URL.
        type: That of a server: ``stdio``, ``streamable_http``, ``sse``.
        obstacle: Why it cannot be had here; empty: it can.
        command: What is started.
    """

    id: str
    kind: str
    place: str
    type: str
    obstacle: str = ""
    command: str = ""
    args: Sequence[_Part] = ()
    env: Sequence[_Part] = ()
    url: _Part | None = None
    headers: Sequence[_Part] = ()

    @property
    def questions(self) -> list[Question]:
        """What has to be asked, each once, in the order of its places."""
        parts = [*self.env, *self.headers, *([self.url] if self.url is not None else []), *self.args]
        asked = (piece for part in parts for piece in part.pieces if isinstance(piece, Question))
        return list({question.key: question for question in asked}.values())

    @property
    def shown(self) -> str:
        """The command line or URL, with ``<label>`` where an answer belongs."""
        labels = {question.key: f"<{question.label}>" for question in self.questions}
        if self.url is not None:
            return self.url.filled(labels) or ""
        words = (self.command, *self._arguments(labels))
        return " ".join(word if _PLAIN.fullmatch(word) else shlex.quote(word) for word in words)

    @property
    def fixed(self) -> list[tuple[str, str]]:
        """The variables and headers in which the publisher says something, with ``<label>`` where an answer belongs."""
        labels = {question.key: f"<{question.label}>" for question in self.questions}
        own = (part for part in (*self.env, *self.headers) if not part.asked)
        return [(part.name, part.filled(labels) or "") for part in own]

    def entry(self, given: Mapping[str, str]) -> dict[str, Any]:
        """Return the server as an entry of ``mcpServers``.

        Args:
            given: Answers by the keys of their questions; what is left out has its default.

        Raises:
            WrongAnswer: One is needed, or is not one of the choices.
        """
        answers = {question.key: _answer(question, given) for question in self.questions}
        if self.url is not None:
            made: dict[str, Any] = {"type": self.type, "url": self.url.filled(answers) or ""}
            return made | {"headers": _named(self.headers, answers)}
        made = {"type": self.type, "command": self.command, "args": self._arguments(answers)}
        return made | {"env": _named(self.env, answers)}

    def _arguments(self, answers: Mapping[str, str]) -> list[str]:
        texts = ((part, part.filled(answers)) for part in self.args)
        return [each for part, text in texts if text is not None for each in part.argument(text)]


def ways_of(server: Listed) -> list[Way]:
    """Return the ways in which a server can be had, those that can be had here first, the remote ones before others."""
    remotes = [_remote(number, each) for number, each in enumerate(server.remotes or ())]
    packages = [_package(number, each) for number, each in enumerate(server.packages or ())]
    return sorted((*remotes, *packages), key=lambda way: bool(way.obstacle))


def _remote(number: int, remote: Transport) -> Way:
    way = Way(id=f"remote-{number}", kind="remote", place=remote.url, type=_TYPES.get(remote.type, remote.type))
    if remote.type not in _TYPES or not remote.url.startswith(("https://", "http://")):
        return _without(way, "its transport is not one of MCP's over HTTP")
    url = _part("url", "url", Input(value=remote.url, variables=remote.variables))
    headers = [_part(each.name, f"header.{each.name}", each) for each in remote.headers or () if each.name]
    return Way(id=way.id, kind=way.kind, place=way.place, type=way.type, url=url, headers=headers)


def _package(number: int, package: Package) -> Way:
    kind, version = package.registry_type, package.version or ""
    place = package.identifier + (f"@{version}" if version else "")
    way = Way(id=f"package-{number}", kind=kind, place=place, type="stdio")
    if kind not in _PACKAGES:
        return _without(way, "packages of this kind are not started here")
    runner, first, form, home = _PACKAGES[kind]
    if package.transport.type != "stdio":
        return _without(way, "it listens on a port of its own; start it yourself, and add its URL")
    if package.registry_base_url and package.registry_base_url.rstrip("/") != f"https://{home}":
        return _without(way, "the package is in a place that its runner does not ask")
    if not form.fullmatch(package.identifier) or (version and not _VERSION.fullmatch(version)):
        return _without(way, "the name or version of the package is not one")
    env = [_part(each.name, f"env.{each.name}", each) for each in package.environment_variables or ()]
    if not all(_VARIABLE.fullmatch(part.name) for part in env):
        return _without(way, "it names a variable that cannot be one")
    if steering := next((part.name for part in env if _STEERING.fullmatch(part.name)), ""):
        return _without(way, f"its variable {steering} could have something else run")
    runtime = list(_arguments("runtime", package.runtime_arguments or (), known=first))
    arguments = list(_arguments("argument", package.package_arguments or ()))
    passed = [_fixed(text) for part in env for text in ("-e", part.name)] if kind == "oci" else []
    args = [*map(_fixed, first), *passed, *runtime, _fixed(_spec(kind, package.identifier, version)), *arguments]
    return Way(id=way.id, kind=kind, place=place, type="stdio", command=runner, args=args, env=env)


def _spec(kind: str, identifier: str, version: str) -> str:
    """Return a package with its version as its runner takes it."""
    if not version:
        return identifier
    if kind != "oci":
        return f"{identifier}@{version}"
    # An image often has its tag or digest in its name; a colon before the last slash is that of a port.
    return identifier if "@" in identifier or ":" in identifier.rpartition("/")[2] else f"{identifier}:{version}"


def _arguments(place: str, arguments: Sequence[Argument], known: Sequence[str] = ()) -> Iterator[_Part]:
    """Return the arguments that a package names, but for those that are there anyway."""
    for number, argument in enumerate(arguments):
        named = argument.type == "named"
        if (argument.name if named else argument.value) not in known:
            label = argument.name.lstrip("-") if named else argument.value_hint or argument.name
            yield _part(argument.name if named else "", f"{place}.{number}", argument, label)


def _part(name: str, key: str, given: Input, label: str = "") -> _Part:
    """Return a value with its questions: those of its variables, or of itself when it has none."""
    if given.value is None:
        return _Part(name, (_question(key, label or name, given),))
    variables, pieces = given.variables or {}, list[str | Question]()
    for number, text in enumerate(_IN_BRACES.split(given.value)):
        if number % 2 == 0:
            pieces += [text] if text else []
        elif text not in variables:
            pieces.append("{" + text + "}")  # which then stands for itself
        elif variables[text].value is not None:
            pieces.append(variables[text].value or "")
        else:
            pieces.append(_question(f"{key}.{text}", text, variables[text]))
    return _Part(name, pieces)


def _question(key: str, label: str, given: Input) -> Question:
    return Question(
        key=key,
        label=label,
        description=given.description or "",
        required=given.is_required,
        secret=given.is_secret,
        default=given.default or "",
        placeholder=given.placeholder or "",
        choices=given.choices or (),
    )


def _answer(question: Question, given: Mapping[str, str]) -> str:
    answer = given.get(question.key, question.default)
    if question.required and not answer:
        raise WrongAnswer(question.key, "is needed")
    if answer and question.choices and answer not in question.choices:
        raise WrongAnswer(question.key, f"must be one of {', '.join(question.choices)}")
    return answer


def _named(parts: Sequence[_Part], answers: Mapping[str, str]) -> dict[str, str]:
    return {part.name: text for part in parts if (text := part.filled(answers)) is not None}


def _fixed(text: str) -> _Part:
    return _Part("", (text,))


def _without(way: Way, obstacle: str) -> Way:
    return Way(id=way.id, kind=way.kind, place=way.place, type=way.type, obstacle=obstacle)

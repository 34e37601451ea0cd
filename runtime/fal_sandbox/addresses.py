"""The three addresses of everything that is recorded: here, at the live platform, and as cassettes write it.

A cassette names the platform's own hosts, whatever port the sandbox had and whatever stood in for the platform. What a
response links to on other hosts is reached through `/elsewhere` here, so that a replay needs no network for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, urlencode, urlsplit

ELSEWHERE = "/elsewhere"
"""The path under which other hosts are reached: `/elsewhere/https/example.com/a.png`."""

_END = r"(?![A-Za-z0-9.-])"
_SECRET_PARAMETER = re.compile(
    r"^(x-amz-.*|x-goog-.*|.*signature|sig|.*token|expires|policy|key-pair-id|awsaccesskeyid|googleaccessid)$",
    re.IGNORECASE,
)
_QUERY = re.compile(r"(https?://[^\s\"'\\?<>]+)\?([^\s\"'\\<>]+)")
_LINK = re.compile(r'("[A-Za-z_]*url"\s*:\s*")(https?)://([^/"\s\\]+)')


class Addresses:
    """Translates between the three.

    Args:
        here: the base URL of each service, by its name.
        url: where the sandbox is, for what lies elsewhere.
        live: the base URL of each service at the platform that is recorded.
        written: the base URL of each service as a cassette has it.
        alias: another base URL of each service here, if it has two.
    """

    def __init__(
        self,
        here: Mapping[str, str],
        url: str,
        live: Mapping[str, str],
        written: Mapping[str, str],
        alias: Mapping[str, str] | None = None,
    ) -> None:
        self.url = url
        self._elsewhere = url + ELSEWHERE
        self._netlocs = {urlsplit(base).netloc for base in here.values()}
        self._tables = {
            (source, target): _table(first, second)
            for source, first in (("here", here), ("live", live), ("written", written))
            for target, second in (("here", here), ("live", live), ("written", written))
            if source != target
        }
        for target, second in (("live", live), ("written", written)):
            self._tables["here", target] = _table(alias or {}, second) | self._tables["here", target]

    def from_here(self, text: str, to: str) -> str:
        """A request's URL or text as it is at the platform (`live`) or in a cassette (`written`)."""
        text = _translate(text, self._tables["here", to])
        return re.sub(re.escape(self._elsewhere) + r"/(https?)/([^/\"\s\\]+)", r"\1://\2", text)

    def to_here(self, text: str, source: str) -> str:
        """A response's text from the platform (`live`) or from a cassette (`written`), with every link leading here."""
        return _LINK.sub(self._through, _translate(text, self._tables[source, "here"]))

    def written(self, text: str) -> str:
        """A response's text from the platform as a cassette has it."""
        return _translate(text, self._tables["live", "written"])

    def _through(self, link: re.Match[str]) -> str:
        if link[3] in self._netlocs:
            return link[0]
        return f"{link[1]}{self._elsewhere}/{link[2]}/{link[3]}"


def without_signature(url: str) -> str:
    """A URL without what makes it a secret, and with its other parameters in order."""
    base, mark, query = url.partition("?")
    if not mark:
        return url
    pairs = parse_qsl(query, keep_blank_values=True)
    kept = sorted((name, value) for name, value in pairs if not _SECRET_PARAMETER.match(name))
    # Of a signed query nothing is kept: what else is in it only makes sense with the signature.
    signed = len(kept) < len(pairs) and any("signature" in name.lower() or name == "sig" for name, _ in pairs)
    return base if signed or not kept else f"{base}?{urlencode(kept)}"


def without_signatures(text: str) -> str:
    """A text whose URLs hold no secrets."""
    return _QUERY.sub(lambda found: without_signature(found[0]), text)


def _table(source: Mapping[str, str], target: Mapping[str, str]) -> dict[str, str]:
    bases = {base: target[service] for service, base in source.items() if service in target}
    return dict(sorted(bases.items(), key=lambda pair: -len(pair[0])))


def _translate(text: str, table: Mapping[str, str]) -> str:
    if not table:
        return text
    pattern = "|".join(re.escape(base) for base in table)
    return re.sub(f"({pattern}){_END}", lambda found: table[found[1]], text)

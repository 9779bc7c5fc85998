"""Expected answers against real ones: texts with names, XML as what it means, multistatus lines.

In what is expected, `$any` stands for whatever is inside, `$more` for further elements, `$iso`,
`$date`, `$digits` and `$etag` for what they say. Any other `$name` stands for the text that it was
seen as first: there it is taken down, from then on it must be the same.
"""

from __future__ import annotations

import re
import shlex
from typing import Any

from lxml import etree

from tests.support.multistatus import MultiStatus

PATTERNS = {
    "iso": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
    "date": r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT",
    "digits": r"\d+",
    "etag": r'"[\x21\x23-\x7e]+"',
    "any": r".*",
}
PREFIXES = {
    "D": "DAV:",
    "Z": "urn:schemas-microsoft-com:",
    "apple": "http://www.apple.com/webdav_fs/props/",
    "apache": "http://apache.org/dav/props/",
    "oc": "http://owncloud.org/ns",
    "SAR": "SAR:",
}
"""Of property names in the lines of a multistatus; without prefix a name is DAV's."""

Names = dict[str, str]
_NAME = re.compile(r"\$([A-Za-z]\w*)")


def insert(text: str, names: Names) -> str:
    """Returns what is to be sent: every name replaced by what it stands for."""
    return _NAME.sub(lambda match: names.get(match[1], match[0]), text)


def match_text(expected: str, actual: str, names: Names) -> bool:
    """True when the text is as expected; what is named in it for the first time is added."""
    pattern, position, taken = "", 0, []
    for match in _NAME.finditer(expected):
        pattern += re.escape(expected[position : match.start()])
        position, name = match.end(), match[1]
        if name in names:
            pattern += re.escape(names[name])
        elif name in PATTERNS:
            pattern += f"(?:{PATTERNS[name]})"
        elif name in taken:
            pattern += f"(?P={name})"
        else:
            taken.append(name)
            pattern += f"(?P<{name}>.+?)"
    found = re.fullmatch(pattern + re.escape(expected[position:]), actual, re.DOTALL)
    if found is None:
        return False
    names.update(found.groupdict())
    return True


def find_difference(expected: Any, actual: Any, names: Names) -> str | None:
    """Returns what of an element is not as expected, None when nothing is. Prefixes, white space
    between elements and the order of elements do not count."""
    if expected.tag != actual.tag or dict(expected.attrib) != dict(actual.attrib):
        return f"{actual.tag} {dict(actual.attrib)} instead of {expected.tag}"
    texts = [expected.text or "", *(child.tail or "" for child in expected)]
    text = "".join(texts).strip()
    if text == "$any":
        return None
    if len(expected) == 0 and text != "$more":
        found = (actual.text or "").strip()
        is_text = not len(actual) and match_text(text, found, names)
        return None if is_text else f"{found!r} in {actual.tag} for {text!r}"
    rest = list(actual)
    for child in expected:
        seen = [dict(names) for _ in rest]
        differences = [find_difference(child, *pair) for pair in zip(rest, seen, strict=True)]
        if None not in differences:
            return min(differences, key=lambda found: -len(str(found)), default=f"no {child.tag}")
        place = differences.index(None)
        names.update(seen[place])
        del rest[place]
    return f"more than expected: {[other.tag for other in rest]}" if rest and not text else None


def find_xml_difference(expected: str, actual: bytes, names: Names) -> str | None:
    difference = find_difference(
        etree.fromstring(expected.encode()), etree.fromstring(actual), names
    )
    return None if difference is None else f"{difference}\n{actual.decode()}"


def find_line_difference(expected: str, answer: MultiStatus, names: Names) -> str | None:
    """Compares a multistatus with lines, each `href status name=value name ...`; further names in
    lines that begin with a blank. The first line's href is the first of the answer. A name
    without `=` has no value; `...` ends a line that has further properties, and stands for
    further responses in a line of its own.

    A value is the text of the property; of resourcetype the names in it, of supportedlock the
    scopes, of lockdiscovery the tokens, each with blanks between them; of others their elements
    as text.
    """
    lines = re.sub(r"\n[ \t]+", " ", expected).splitlines()
    further = "..." in lines
    wanted: dict[str, dict[int, list[str]]] = {}
    statuses: dict[str, int] = {}
    for line in lines:
        if line == "...":
            continue
        href, status, *properties = shlex.split(line)
        href = insert(href, names)
        if properties:
            wanted.setdefault(href, {})[int(status)] = properties
        else:
            statuses[href] = int(status)
    if statuses != answer.statuses:
        return f"statuses {answer.statuses}, not {statuses}"
    if wanted and next(iter(wanted)) != next(iter(answer), None):
        return f"{answer.hrefs[:1]} first, not {next(iter(wanted))!r}"
    if not set(wanted) <= set(answer) or (set(wanted) != set(answer) and not further):
        return f"responses {sorted(answer)}, not {sorted(wanted)}"
    for href, groups in wanted.items():
        if list(groups) != list(answer[href]):
            return f"{href}: propstats {list(answer[href])}, not {list(groups)}"
        for status, properties in groups.items():
            difference = _properties_difference(properties, answer[href][status], names)
            if difference:
                return f"{href} {status}: {difference}"
    return None


def _properties_difference(
    properties: list[str], found: dict[str, Any], names: Names
) -> str | None:
    missing = dict(found)
    for each in properties:
        if each == "...":
            return None
        name, _, value = each.partition("=")
        prefix, _, local = name.rpartition(":")
        element = missing.pop(f"{{{PREFIXES[prefix or 'D']}}}{local}", None)
        if element is None:
            return f"no {name} in {list(found)}"
        if not match_text(value, value_of(element), names):
            return f"{name} is {value_of(element)!r}, not {value!r}"
    return f"more than expected: {list(missing)}" if missing else None


def value_of(element: Any) -> str:
    local = etree.QName(element).localname
    if local in ("resourcetype", "supportedlock"):
        inner = element if local == "resourcetype" else element.iterfind(".//{DAV:}lockscope/*")
        return " ".join(etree.QName(child).localname for child in inner)
    if local == "lockdiscovery":
        return " ".join(
            href.text.strip() for href in element.iterfind(".//{DAV:}locktoken/{DAV:}href")
        )
    inside = "".join(etree.tostring(child, encoding="unicode") for child in element)
    return (element.text or "") + inside

"""Class names in a cell of a table: codes, names or lists of them, however they are separated."""

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import chain

from common.labels import STATEMENTS
from records import snomed

# a cell without a value
UNKNOWN = ("", "nan", "none", "na", "n/a", "unknown", "u", "?", "-1", "-", "--")
_SEPARATORS = re.compile(r"[;,|\n]+")
_CODE = re.compile(r"[^a-z\s]+")  # IMI, SR, I48.0, 426783006
_SNOMED = re.compile(r"\d{6,18}")
# Sinus rhythm (426783006), from the beginning of a part on
_BEHIND_ITS_NAME = re.compile(r"(?<![^;,|\n()])[^;,|\n()]*\((\d{6,18})\)")
_KEYS = re.compile(r"""(['"])((?:(?!\1).)*)\1\s*:""")
_QUOTED = re.compile(r"""(['"])(.*?)\1""")


def names_listed(text: str) -> list[str] | None:
    """The names of a list or a dict written out, "['NORM', 'SR']" or "{'NORM': 100.0}"; None for
    other text.
    """
    text = text.strip()
    if text[:1] + text[-1:] not in ("[]", "{}", "()"):
        return None
    pattern = _KEYS if text[0] == "{" else _QUOTED
    quoted = [match[1] for match in pattern.findall(text)]
    return [_joined(name) for name in quoted or _SEPARATORS.split(text[1:-1]) if name.strip()]


def names_in(text: str) -> list[str]:
    """'Sinus rhythm; AV block' -> Sinus_rhythm, AV_block."""
    if text.lower() in UNKNOWN:
        return []
    listed = names_listed(text)
    if listed is not None:
        return listed
    found: list[str] = []
    for part in _parts(text):
        words = part.split()
        found += words if all(map(_SNOMED.fullmatch, words)) else [_joined(part)]
    return found


def codes_in(text: str) -> list[str]:
    """'IMI SR' -> IMI, SR; beside other separators, blanks part codes alone: 'sinus rhythm, AV
    block' -> sinus_rhythm, AV_block.
    """
    text = text.strip()
    if text.lower() in UNKNOWN:
        return []
    listed = names_listed(text)
    if listed is not None:
        return listed
    parts = _parts(text)
    if len(parts) == 1:
        return parts[0].split()
    found: list[str] = []
    for part in parts:
        words = part.split()
        found += words if all(map(_CODE.fullmatch, words)) else [_joined(part)]
    return found


def _parts(text):
    """What separators part; of a name with its SNOMED CT code behind it, the code."""
    if "(" in text:
        known = snomed.mapping()
        text = _BEHIND_ITS_NAME.sub(lambda found: found[1] if found[1] in known else found[0], text)
    return [part for part in _SEPARATORS.split(text) if part.strip()]


def torn(texts: Iterable[str]) -> str | None:
    """The first cell whose blanks rather join words of a name than part names: three words that are
    no codes; None where there is none.
    """
    for text in texts:
        words = text.split()
        plain = not _SEPARATORS.search(text) and names_listed(text) is None
        if plain and sum(not _CODE.fullmatch(word) for word in words) > 2:
            return text
    return None


def alike(labels: Iterable[Iterable[str]]) -> list[dict[str, int]]:
    """Groups of names that differ in capitals, blanks, _ and - alone, each name with its count;
    the spelling to keep is first: an SCP statement's, else the most frequent one.
    """
    counts = Counter(chain.from_iterable(labels))
    groups: dict[str, dict[str, int]] = defaultdict(dict)
    for name in sorted(counts, key=lambda name: (name not in STATEMENTS, -counts[name], name)):
        groups[re.sub(r"[\s_-]+", "", name).casefold()][name] = counts[name]
    return [group for group in groups.values() if len(group) > 1]


def settle_alike(labels: list[list[str]], join: bool) -> list[list[str]]:
    """Say which names are all but the same, and write them in one way where asked for."""
    groups = alike(labels)
    if not groups:
        return labels
    named = "; ".join(map(_counted, groups))
    if not join:
        print(
            "warning: names that differ in capitals, blanks, _ or - alone are classes of their "
            f"own: {named}; --join_labels makes them one",
            file=sys.stderr,
        )
        return labels
    print(f"joined under the first of their names: {named}")
    kept = {}
    for group in groups:
        kept |= dict.fromkeys(group, next(iter(group)))
    return [_renamed(row, kept) for row in labels]


def _renamed(names, kept):
    return list(dict.fromkeys(kept.get(name, name) for name in names))


def _counted(group):
    return " = ".join(f"{name} ({count})" for name, count in group.items())


def translated(labels: list[list[str]]) -> list[list[str]]:
    """With SNOMED CT codes as SCP statements, where some of the numbers are known codes."""
    known = snomed.mapping()
    plain = [list(map(_whole_number, row)) for row in labels]
    if known.keys().isdisjoint(set().union(*plain)):
        return labels
    return [_statements(row) for row in plain]


def _whole_number(name):
    """A code that a table gives as 426783006.0 without its decimal."""
    return re.sub(r"\.0$", "", name) if name[:1].isdigit() else name


def _statements(names):
    found: list[str] = []
    for name in names:
        found += snomed.labels_of(name) if re.fullmatch(r"\d{5,18}", name) else [name]
    return list(dict.fromkeys(found))


def _joined(text):
    return "_".join(text.split())

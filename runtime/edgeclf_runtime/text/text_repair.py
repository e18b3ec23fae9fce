"""What CLIP's tokenizer first does to a text: repairs wrongly decoded characters, quotes, widths, ligatures.

The steps are those of ftfy's `fix_text` (Robyn Speer, Apache-2.0), which CLIP was trained behind; its tables travel in
the bundle, so that the device needs numpy and the standard library alone.
"""

from __future__ import annotations

import html
import re
import unicodedata
from dataclasses import dataclass

from edgeclf_runtime.errors import BundleError

_LONGEST_SEGMENT = 1_000_000
_MOST_ROUNDS = 64  # and one for each character: a round of sound tables takes some away, such as an "amp;"
_LONGEST_REPLACEMENT = 16
_MOST_GROWTH = 64  # the longest that a character becomes in sound tables are a few others
_ENTITY = re.compile(r"&#?[0-9A-Za-z]{1,24};")
_TERMINAL_ESCAPE = re.compile("\033\\[((?:\\d|;)*)([a-zA-Z])")
_LINE_BREAKS = re.compile("\r\n|[\r\u2028\u2029\u0085]")
_SURROGATE_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_C1 = re.compile("[\x80-\x9f]")
_WORD_A_GRAVE = re.compile(b"\xc3 (?! |quele|quela|quilo|s )")
# a character above U+FFFF as two surrogates of three bytes each (CESU-8)
_SURROGATES_IN_BYTES = re.compile(b"\xed([\xa0-\xaf][\x80-\xbf])\xed([\xb0-\xbf][\x80-\xbf])")
# of an expression: an escape or a set of characters; and in a verbose one what is no part of it, a comment or a blank
_ONE_CHARACTER = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
_ONE_OR_NONE = re.compile(rf"({_ONE_CHARACTER.pattern})|#[^\n]*|\s", re.DOTALL)
_COSTLY = re.compile(r"\*|\+(?!\Z)|\{(?![1-4]\})|\)[?{]|\(\?(?![:<=!])")
_MOST_GROUPS, _MOST_IN_GROUPS, _MOST_OPTIONAL, _LONGEST_EXPRESSION = 2, 16, 8, 20_000


def _check_search(expression: str, *, verbose: bool) -> None:
    """Raises ValueError for an expression whose search may take forever, which Python can't stop.

    In a sound one, what is repeated without end stands at the end, where nothing makes it try again with fewer, and no
    other group is repeated.
    """
    if verbose:
        rest = _ONE_OR_NONE.sub(lambda found: "_" if found[1] else "", expression)
    else:
        rest = _ONE_CHARACTER.sub("_", expression)
    optional = rest.count("?") - rest.count("(?")
    groups = rest.count("(")
    many = groups > _MOST_GROUPS or optional > _MOST_OPTIONAL or len(expression) > _LONGEST_EXPRESSION
    many |= groups > 0 and rest.count("|") > _MOST_IN_GROUPS
    if many or _COSTLY.search(rest):
        raise ValueError(f"an expression whose search may take forever, or longer than allowed: {expression!r:.50}")


@dataclass(frozen=True, slots=True)
class RepairTables:
    """Expressions and maps, as ftfy has them.

    Attributes
    ----------
    bad
        A verbose expression that finds signs of a wrong decoding.
    charmaps
        Single-byte encodings in the order of trial, each as the characters of its 256 bytes.
    altered_bytes, lossy_bytes
        Expressions on bytes, as Latin-1: a space in place of byte A0; UTF-8 of which a byte was lost.
    utf8_in_text
        Characters that are bytes of UTF-8, in a text of another encoding.
    entities, characters
        HTML entities, and single characters, by what they become.
    """

    bad: str
    charmaps: tuple[tuple[str, str], ...]
    altered_bytes: str
    lossy_bytes: str
    utf8_in_text: str
    entities: dict[str, str]
    characters: dict[str, str]

    def __post_init__(self) -> None:
        for expression in (self.bad, self.utf8_in_text):
            _check_search(expression, verbose=True)
        for expression in (self.altered_bytes, self.lossy_bytes):
            _check_search(expression, verbose=False)
        if wrong := [name for name, characters in self.charmaps if len(characters) != 256]:
            raise ValueError(f"the encoding {wrong[0]} has no 256 characters")
        if longer := [character for character in self.characters if len(character) != 1]:
            raise ValueError(f"single characters were wanted, found {longer[0]!r:.50}")
        replacements = (*self.entities.values(), *self.characters.values())
        if longer := [each for each in replacements if len(each) > _LONGEST_REPLACEMENT]:
            raise ValueError(
                f"replacements of {_LONGEST_REPLACEMENT} characters at most were wanted, found {longer[0]!r:.50}"
            )


class TextRepair:
    """`repair(text)`: the text as CLIP's tokenizer wants it."""

    def __init__(self, tables: RepairTables) -> None:
        self._bad = re.compile(tables.bad, re.VERBOSE)
        self._charmaps = [
            (name, {character: byte for byte, character in enumerate(characters)})
            for name, characters in tables.charmaps
        ]
        self._altered = re.compile(tables.altered_bytes.encode("latin-1"))
        self._lossy = re.compile(tables.lossy_bytes.encode("latin-1"))
        self._utf8_in_text = re.compile(tables.utf8_in_text, re.VERBOSE)
        self._entities = tables.entities
        self._characters = {ord(character): becomes for character, becomes in tables.characters.items()}

    def __call__(self, text: str) -> str:
        done, place, entities = [], 0, True
        while place < len(text):
            end = text.find("\n", place) + 1 or len(text)
            end = min(end, place + _LONGEST_SEGMENT)
            segment = text[place:end]
            entities = entities and "<" not in segment  # from the first tag on it is HTML, whose entities are meant
            done.append(self._mend(segment, entities))
            place = end
        return "".join(done)

    def _mend(self, text: str, entities: bool) -> str:
        """All steps, until nothing changes any more. Raises BundleError where they never end."""
        longest = _MOST_GROWTH * (len(text) + 1)
        for _ in range(_MOST_ROUNDS + len(text)):
            before = text
            if entities and "&" in text:
                text = _ENTITY.sub(self._unescape, text)
            if not text.isascii():
                text = self._decode_again(text)
                text = _C1.sub(_from_windows, text)
            text = text.translate(self._characters)
            text = _LINE_BREAKS.sub("\n", text)
            if not text.isascii():
                text = _SURROGATE_PAIR.sub(_join_surrogates, text)
                text = _SURROGATE.sub("\ufffd", text)
            text = _TERMINAL_ESCAPE.sub("", text)
            text = unicodedata.normalize("NFC", text.translate(_CONTROLS))
            if text == before:
                return text
            if len(text) > longest:
                break
        raise BundleError("the bundle's tokenizer never ends repairing a text: its tables are damaged; export it again")

    def _unescape(self, found: re.Match[str]) -> str:
        entity = found[0]
        if entity in self._entities:
            return self._entities[entity]
        if not entity.startswith("&#"):
            return entity
        meant = html.unescape(entity)
        return entity if ";" in meant else meant

    def _decode_again(self, text: str) -> str:
        """The text as it was meant, where UTF-8 was read as a single-byte encoding, perhaps more than once."""
        for _ in range(_MOST_ROUNDS + len(text)):
            before = text
            text = self._decode_once(text)
            if text == before:
                break
        return text  # of tables that lead in a circle, `_mend` notices

    def _decode_once(self, text: str) -> str:
        if text.isascii() or not self._bad.search(text):
            return text
        possible = []
        for name, byte_of in self._charmaps:
            numbers = [byte_of.get(character, -1) for character in text]
            if min(numbers) < 0:
                continue
            possible.append(name)
            try:
                return self._decode_bytes(bytes(numbers), name)
            except UnicodeDecodeError:
                continue
        if self._utf8_in_text.search(text):
            repaired = self._utf8_in_text.sub(lambda found: self._decode_part(found[0], text), text)
            if repaired != text:
                return repaired
        if "latin-1" in possible:
            try:
                return text.encode("latin-1").decode("windows-1252")
            except UnicodeDecodeError:
                pass
        return _C1.sub(_from_windows, text)

    def _decode_bytes(self, data: bytes, name: str) -> str:
        """UTF-8, with what was lost on the way put back where that is certain. Raises UnicodeDecodeError."""
        if name != "macroman" and self._altered.search(data):  # there a dash and a space would look alike
            data = _WORD_A_GRAVE.sub(b"\xc3\xa0 ", data)
            data = self._altered.sub(lambda found: found[0].replace(b" ", b"\xa0"), data)
        if name.startswith("sloppy"):
            data = self._lossy.sub("\ufffd".encode(), data)
        return _decode_utf8(data)

    def _decode_part(self, part: str, whole: str) -> str:
        # a part that is the whole would recurse without end
        return self._decode_again(part) if len(part) < len(whole) and self._bad.search(part) else part


def _decode_utf8(data: bytes) -> str:
    """UTF-8 that may hold Java's zero byte and surrogates. Raises UnicodeDecodeError."""
    data = data.replace(b"\xc0\x80", b"\0")
    return _SURROGATES_IN_BYTES.sub(_four_bytes, data).decode("utf-8")


def _four_bytes(found: re.Match[bytes]) -> bytes:
    high, low = found[1], found[2]
    code = ((high[0] & 0x0F) << 16) + ((high[1] & 0x3F) << 10) + ((low[0] & 0x0F) << 6) + (low[1] & 0x3F) + 0x10000
    return chr(code).encode()


def _join_surrogates(found: re.Match[str]) -> str:
    return found[0].encode("utf-16", "surrogatepass").decode("utf-16")


def _from_windows(found: re.Match[str]) -> str:
    data = found[0].encode("latin-1")
    try:
        return data.decode("windows-1252")
    except UnicodeDecodeError:  # five of them are no character there either
        return found[0]


_CONTROLS = {
    code: None
    for codes in (
        range(0x00, 0x09),
        (0x0B,),
        range(0x0E, 0x20),
        (0x7F,),
        range(0x206A, 0x2070),
        (0xFEFF,),
        range(0xFFF9, 0xFFFD),
    )
    for code in codes
}

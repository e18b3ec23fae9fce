"""TIFF by its tags, where Pillow shows other pixels than the file stores, or refuses it without a reason.

Specification: TIFF 6.0 (https://www.itu.int/itudoc/itu-t/com16/tiff-fx/docs/tiff6.pdf); BigTIFF as libtiff has it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

from edgeclf_runtime.errors import ImageError

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIPS, _SAMPLES, _STRIP_ROWS, _STRIP_BYTES, _PLANAR, _PALETTE = 273, 277, 278, 279, 284, 320
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 322, 323, 324, 325
_EXTRA, _FORMAT, _SUBSAMPLING = 338, 339, 530
_SUBFILE, _SUB_DIRECTORIES, _DNG = 254, 330, 50706
_NOT_WHOLE = 1 | 4  # of NewSubfileType: a smaller copy, a mask
_MOST_DIRECTORIES = 64
_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
_TYPE_BYTES = {**{kind: struct.calcsize(code) for kind, code in _TYPES.items()}, 2: 1, 5: 8, 7: 1, 10: 8, 11: 4, 12: 8}
_MOST_VALUES = 1 << 22
_PHOTOMETRICS = {
    **{0: "grey (white is zero)", 1: "grey", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr", 8: "CIELAB"},
    **{9: "ICCLAB", 10: "ITULAB", 32803: "colour filter array (raw)", 32844: "LogL", 32845: "LogLuv"},
    34892: "linear raw",
}
_COMPRESSIONS = {
    **{1: "none", 2: "CCITT", 3: "CCITT fax 3", 4: "CCITT fax 4", 5: "LZW", 6: "old JPEG", 7: "JPEG", 8: "Deflate"},
    **{9: "JBIG", 34661: "JBIG", 32773: "PackBits", 32946: "Deflate", 34712: "JPEG 2000", 34887: "LERC"},
    **{34925: "LZMA", 50000: "Zstandard", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL", 33003: "JPEG 2000"},
    **{33005: "JPEG 2000", 34892: "lossy JPEG", 34676: "SGI Log", 34677: "SGI Log", 32809: "ThunderScan"},
}

_PLANE_MODES = {  # photometric, channels, extra ones -> what Pillow calls those that are shown
    **{(2, 3, ()): "RGB", (2, 4, ()): "RGBA", (2, 4, (0,)): "RGB", (2, 4, (1,)): "RGBa", (2, 4, (2,)): "RGBA"},
    **{(5, 4, ()): "CMYK", (1, 2, (2,)): "LA", (1, 2, (1,)): "La", (1, 2, (0,)): "L"},
}


@dataclass(frozen=True, slots=True)
class Tags:
    """The first directory of a TIFF: number of a tag -> (its type, count of values, the bytes of its entry)."""

    data: bytes
    order: str  # "<" or ">"
    big: bool
    entries: dict[int, tuple[int, int, bytes]]

    def values(self, tag: int, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """The integers of a tag; `default` where it is missing or damaged."""
        kind, count, raw = self.entries.get(tag, (0, 0, b""))
        if kind not in _TYPES or not 0 < count <= _MOST_VALUES:
            return default
        length = count * _TYPE_BYTES[kind]
        if length > len(raw):
            (place,) = struct.unpack(self.order + ("Q" if self.big else "I"), raw)
            raw = self.data[place : place + length]
        return struct.unpack(f"{self.order}{count}{_TYPES[kind]}", raw[:length]) if len(raw) >= length else default

    def value(self, tag: int, default: int) -> int:
        """The first integer of a tag."""
        return self.values(tag, (default,))[0]

    @property
    def bits(self) -> tuple[int, ...]:
        """Bits of each sample of a pixel."""
        bits, samples = self.values(_BITS, (1,)), self.value(_SAMPLES, 1)
        return bits * samples if len(bits) == 1 and samples < 64 else bits

    @property
    def signed(self) -> bool:
        """True for integers with a sign."""
        return self.value(_FORMAT, 1) == 2

    @property
    def white_is_zero(self) -> bool:
        """True for deep grey that is stored as a negative; Pillow turns it over up to 8 bits, and not beyond."""
        return self.value(_PHOTOMETRIC, 0) == 0 and self.bits in ((12,), (16,), (32,))

    @property
    def plane_mode(self) -> str:
        """Pillow's mode for channels that lie one plane after another; "": it has none."""
        return _PLANE_MODES.get((self.value(_PHOTOMETRIC, 0), len(self.bits), self.values(_EXTRA)), "")

    @property
    def apart(self) -> bool:
        """True for planes of 16 bits or with extra ones: Pillow mixes them up or refuses; they are read one by one."""
        depths, planar = set(self.bits), self.value(_PLANAR, 1) == 2
        return planar and self.plane_mode != "" and (depths == {16} or (depths == {8} and bool(self.values(_EXTRA))))

    @property
    def raw_ycbcr(self) -> bool:
        """True for YCbCr that is not compressed: what Pillow makes of it depends on its version."""
        kind = (self.value(_PHOTOMETRIC, 0), self.value(_COMPRESSION, 1), self.bits)
        return kind == (6, 1, (8, 8, 8))

    def check(self, value_range: tuple[float, float] | None) -> None:
        """Raises ImageError with the reason where it is not agreed how pixels are shown."""
        sample_format, bits = self.value(_FORMAT, 1), self.bits
        found, wanted = self._pieces()
        if found < wanted:
            raise ImageError(f"damaged image: {found} of {wanted} strips or tiles are there")
        if sample_format == 3:
            what = f"{bits[0]}-bit floating-point pixels" if bits[0] != 32 else "floating-point pixels"
            raise ImageError(f"{what} have no agreed range; convert the file to 8 or 16 bits")
        if self.values(_DNG):
            raise ImageError("a camera's raw file (DNG), which is not decoded; convert it to JPEG or TIFF")
        if sample_format in (5, 6):
            raise ImageError("complex pixels are no image; convert the file to 8 or 16 bits")
        if value_range is None and (self.signed or bits == (32,)):
            raise ImageError(f"{self._depth()} integers; give the range of values to show (--bit-depth or --window)")
        if value_range is not None and len(bits) > 1 and max(bits) > 8:
            raise ImageError("16-bit colour can't take a value range (only its upper 8 bits are kept)")
        if self.raw_ycbcr and self.values(_SUBSAMPLING, (2, 2)) != (1, 1):
            raise ImageError("uncompressed YCbCr TIFF with shared colours is not supported; store it as RGB")
        if self.value(_PLANAR, 1) == 2 and len(bits) > 1 and max(bits) > 8 and not self.apart:
            raise ImageError(self.refusal() or "damaged image")  # Pillow would mix the planes up

    def readable(self) -> bytes:
        """The file as Pillow reads it: of channels that lie apart the first, of a deep negative what is stored."""
        if self.apart:
            return self.plane(0)
        if self.white_is_zero:
            return self.with_values({_PHOTOMETRIC: (1,)})
        if self.raw_ycbcr:
            return self.with_values({_PHOTOMETRIC: (2,)})
        palette = self.values(_PALETTE) if self.value(_PHOTOMETRIC, 0) == 3 else ()
        if 0 < max(palette, default=0) < 256:  # entries of 8 bits, as libtiff takes them
            return self.with_values({_PALETTE: tuple(257 * level for level in palette)})
        return self.data

    def head(self, place: int) -> int:
        """The offset that stands at `place`. Raises struct.error."""
        offset: int = struct.unpack_from(self.order + ("Q" if self.big else "I"), self.data, place)[0]
        return offset

    def as_first(self, place: int) -> Tags:
        """The same directory, found at `place`, in a file that has it before all others."""
        start, word = (8, "Q") if self.big else (4, "I")
        pointer = struct.pack(self.order + word, place)
        return replace(self, data=self.data[:start] + pointer + self.data[start + len(pointer) :])

    def plane(self, index: int) -> bytes:
        """One channel of those that lie apart, as a grey TIFF."""
        new: dict[int, tuple[int, ...]] = {_BITS: self.bits[:1], _SAMPLES: (1,), _PLANAR: (1,), _PHOTOMETRIC: (1,)}
        new |= {_EXTRA: (), _FORMAT: ()}
        for tag in (_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES):
            pieces = self.values(tag)
            count = len(pieces) // len(self.bits)
            if pieces:
                new[tag] = pieces[index * count : (index + 1) * count]
        return self.with_values(new)

    def refusal(self) -> str | None:
        """What the file stores that Pillow can't read; None: it is of a usual kind, so it is damaged."""
        if self.big and self.order == ">":
            return "big-endian BigTIFF, which Pillow can't read; store it as little-endian BigTIFF or as TIFF"
        number = self.value(_COMPRESSION, 1)
        if number not in (1, 2, 3, 4, 5, 7, 8, 32773, 32946):
            name = _COMPRESSIONS.get(number, f"number {number}")
            return f"TIFF with {name} compression, which this Pillow can't decode; store it with Deflate or LZW"
        photometric, extra = self.value(_PHOTOMETRIC, 0), self.values(_EXTRA)
        odd = bool(extra) and (photometric, len(extra)) != (2, 1)
        reversed_bits = self.value(_FILL_ORDER, 1) == 2
        if not self.values(_WIDTH) or (self._is_usual(photometric) and not (odd or reversed_bits or self.signed)):
            return None
        what = f"TIFF of {self._depth()} {_PHOTOMETRICS.get(photometric, f'photometric {photometric}')}"
        if extra:
            what += f" with {len(extra)} extra channel{'s' if len(extra) > 1 else ''}"
        if self.value(_PLANAR, 1) == 2:
            what += " in planes"
        if reversed_bits:
            what += " with the lowest bit first"
        return f"{what} is not supported; convert it to grey or RGB of 8 or 16 bits"

    def _is_usual(self, photometric: int) -> bool:
        """True for what Pillow reads where it is not damaged."""
        bits = self.bits
        if set(bits) == {8}:
            return photometric in range(7)
        if set(bits) == {16}:
            return (photometric, len(bits)) in ((0, 1), (1, 1), (2, 3), (2, 4), (5, 4)) or self.apart
        little = self.order == "<" and bits in ((12,), (32,))
        return photometric in range(4) and (bits in ((1,), (2,), (4,)) or (little and photometric < 2))

    def _pieces(self) -> tuple[int, int]:
        """How many strips or tiles are listed, and how many the size requires; Pillow leaves the rest black."""
        width, height = self.value(_WIDTH, 0), self.value(_HEIGHT, 0)
        planes = len(self.bits) if self.value(_PLANAR, 1) == 2 else 1
        tiles = self.values(_TILES)
        if tiles:
            across, down = self.value(_TILE_WIDTH, 0) or width, self.value(_TILE_HEIGHT, 0) or height
        else:
            across, down = width, min(self.value(_STRIP_ROWS, 0) or height, height)
        if not (across and down):
            return 0, 0
        return len(tiles or self.values(_STRIPS)), planes * -(-width // across) * -(-height // down)

    def _depth(self) -> str:
        bits = self.bits
        depth = f"{bits[0]}-bit" if len(set(bits)) == 1 else "/".join(map(str, bits[:6])) + "-bit"
        return f"signed {depth}" if self.signed else depth

    def with_values(self, new: dict[int, tuple[int, ...]]) -> bytes:
        """The file with other values of some tags (none: without it), in a new directory behind the data that stays."""
        word, short = ("Q", "Q") if self.big else ("I", "H")
        width = struct.calcsize(word)
        entries = {tag: entry for tag, entry in self.entries.items() if tag not in new}
        start = len(self.data) + len(self.data) % 2
        tail = b""
        for tag, values in new.items():
            wide = tag in (_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES)
            kind = (16 if self.big else 4) if wide else 3
            raw = struct.pack(f"{self.order}{len(values)}{_TYPES[kind]}", *values)
            if len(raw) > width:
                tail, raw = tail + raw + bytes(len(raw) % 2), struct.pack(self.order + word, start + len(tail))
            if values:
                entries[tag] = (kind, len(values), raw.ljust(width, b"\0"))
        directory = struct.pack(self.order + short, len(entries))
        for tag, (kind, count, raw) in sorted(entries.items()):
            directory += struct.pack(f"{self.order}HH{word}", tag, kind, count) + raw
        head_bytes = 16 if self.big else 8
        head = self.data[: head_bytes - width] + struct.pack(self.order + word, start + len(tail))
        gap = bytes(start - len(self.data))
        return b"".join((head, self.data[head_bytes:], gap, tail, directory, bytes(width)))


def read_tags(data: bytes) -> Tags | None:
    """The directory of the first whole image of a TIFF, or of a thumbnail or mask where it has no other.

    Pillow opens the first directory; cameras and scanners may put a thumbnail there. None: no TIFF, or a damaged one.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or (data[2:4] not in (b"\x2a\0", b"\0\x2a", b"\x2b\0", b"\0\x2b")):
        return None
    first = Tags(data, order, 0x2B in data[2:4], {})
    seen: set[int] = set()
    start = 8 if first.big else 4
    if len(data) < 2 * start:
        return None
    waiting = [first.head(start)]
    while waiting and len(seen) < _MOST_DIRECTORIES:
        place = waiting.pop(0)
        try:
            tags, following = _read_directory(first, place)
        except (struct.error, OverflowError):
            break
        if not tags.value(_SUBFILE, 0) & _NOT_WHOLE:
            return tags if not first.entries else tags.as_first(place)
        first = first if first.entries else tags
        seen.add(place)
        waiting += [other for other in (*tags.values(_SUB_DIRECTORIES), following) if other and other not in seen]
    return first if first.entries else None


def _read_directory(file: Tags, place: int) -> tuple[Tags, int]:
    """The directory at `place`, and where the next one is; 0: it is the last."""
    order, big, data = file.order, file.big, file.data
    (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, place)
    start = place + (8 if big else 2)
    step, head = (20, "HHQ") if big else (12, "HHI")
    entries: dict[int, tuple[int, int, bytes]] = {}
    for at in range(start, min(start + step * min(count, 4096), len(data) - step + 1), step):
        tag, kind, number = struct.unpack_from(order + head, data, at)
        entries.setdefault(tag, (kind, number, data[at + struct.calcsize("<" + head) : at + step]))
    end = start + step * count
    return replace(file, entries=entries), file.head(end) if end + step <= len(data) else 0

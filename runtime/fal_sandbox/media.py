"""Small real files of the kinds that the standard library can write: sounds, meshes, archives, documents."""

from __future__ import annotations

import array
import io
import json
import math
import struct
import wave
import zipfile
from html import escape
from typing import TYPE_CHECKING, TypeAlias

from fal_sandbox.seeds import Seed

SAMPLE_RATE = 16_000
"""Of a sound, in hertz; it is mono with 16 bits."""

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can hold: with the clock's, the bytes would differ each time
_NOTES_PER_SECOND = 4
_SCALE = (0, 2, 4, 7, 9, 12, 14, 16)  # a pentatonic scale, in semitones: any melody in it is pleasant
_TETRAHEDRON = ((1.0, 1.0, 1.0), (1.0, -1.0, -1.0), (-1.0, 1.0, -1.0), (-1.0, -1.0, 1.0))
_FACES = ((0, 1, 2), (0, 3, 1), (0, 2, 3), (1, 3, 2))

if TYPE_CHECKING:
    Samples: TypeAlias = array.array[int]
else:  # it takes no type argument before Python 3.12
    Samples = array.array


def melody(seed: int, sample_rate: int, seconds: float) -> Samples:
    """The samples of a melody of four notes a second: mono, 16 bits, of exactly this length."""
    length = max(1, round(sample_rate * seconds))
    step = max(1, sample_rate // _NOTES_PER_SECOND)
    notes: dict[int, Samples] = {}
    samples = array.array("h")
    for start in range(0, length, step):
        semitones = Seed(seed).choice(f"note {start // step}", _SCALE)
        if semitones not in notes:
            turn = 2 * math.pi * 261.63 * 2 ** (semitones / 12) / sample_rate
            tone = (int(12_000 * (1 - n / step) * math.sin(turn * n)) for n in range(step))
            notes[semitones] = array.array("h", tone)
        samples.extend(notes[semitones][: length - start])
    return samples


def wav(seed: int, sample_rate: int, seconds: float) -> bytes:
    """A short melody: mono, 16 bits."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(sample_rate)
        samples = melody(seed, sample_rate, seconds)
        file.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return out.getvalue()


def glb(seed: int) -> bytes:
    """A binary glTF 2.0 file with one tetrahedron. Source: the glTF 2.0 specification, GLB file format."""
    points = _points(seed)
    positions = b"".join(struct.pack("<3f", *point) for point in points)
    indices = b"".join(struct.pack("<3H", *face) for face in _FACES)
    bounds = list(zip(*points, strict=True))
    colour = [Seed(seed).fraction(channel) for channel in ("red", "green", "blue")]
    scene = {
        "asset": {"version": "2.0", "generator": "fal_sandbox"},
        "scene": 0,
        "scenes": [{"nodes": [0]}],
        "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}, "indices": 1, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorFactor": [*colour, 1.0]}, "doubleSided": True}],
        "buffers": [{"byteLength": len(positions) + len(indices)}],
        "bufferViews": [
            {"buffer": 0, "byteOffset": 0, "byteLength": len(positions), "target": 34962},
            {"buffer": 0, "byteOffset": len(positions), "byteLength": len(indices), "target": 34963},
        ],
        "accessors": [
            {
                "bufferView": 0,
                "componentType": 5126,
                "count": len(points),
                "type": "VEC3",
                "min": [min(axis) for axis in bounds],
                "max": [max(axis) for axis in bounds],
            },
            {"bufferView": 1, "componentType": 5123, "count": 3 * len(_FACES), "type": "SCALAR"},
        ],
    }
    text = json.dumps(scene, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    binary = positions + indices
    chunks += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def obj(seed: int) -> bytes:
    """A Wavefront OBJ file with one tetrahedron."""
    lines = [f"v {x:.4f} {y:.4f} {z:.4f}" for x, y, z in _points(seed)]
    lines += [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in _FACES]
    return ("\n".join(lines) + "\n").encode()


def stl(seed: int) -> bytes:
    """A binary STL file with one tetrahedron."""
    points = _points(seed)
    out = bytes(80) + struct.pack("<I", len(_FACES))
    for face in _FACES:
        # A zero normal tells the reader to take it from the corners.
        out += struct.pack("<12fH", 0, 0, 0, *(value for corner in face for value in points[corner]), 0)
    return out


def ply(seed: int) -> bytes:
    """An ASCII PLY file with one tetrahedron."""
    points = _points(seed)
    lines = ["ply", "format ascii 1.0", f"element vertex {len(points)}"]
    lines += [f"property float {axis}" for axis in "xyz"]
    lines += [f"element face {len(_FACES)}", "property list uchar int vertex_indices", "end_header"]
    lines += [f"{x:.4f} {y:.4f} {z:.4f}" for x, y, z in points]
    lines += [f"3 {a} {b} {c}" for a, b, c in _FACES]
    return ("\n".join(lines) + "\n").encode()


def archive(seed: int, caption: str) -> bytes:
    """A zip archive with one text file."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr(zipfile.ZipInfo("README.txt", _EPOCH), text(seed, caption))
    return out.getvalue()


def document(seed: int, caption: str) -> bytes:
    """A JSON object."""
    return json.dumps({"generator": "fal_sandbox", "seed": seed, "caption": caption}, indent=2).encode()


def text(seed: int, caption: str) -> bytes:
    """A few lines of plain text."""
    return f"Made by fal_sandbox, seed {seed}.\n{caption}\n".encode("utf-8", "replace")


def safetensors(seed: int) -> bytes:
    """A safetensors file with one small tensor. Source: the safetensors format description."""
    values = [Seed(seed).fraction(str(index)) for index in range(4)]
    data = struct.pack("<4f", *values)
    header = json.dumps({"weight": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, len(data)]}}).encode()
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + data


def svg(seed: int, caption: str, width: int, height: int) -> bytes:
    """A vector picture with the caption in its middle."""
    hue = Seed(seed).number("hue", 0, 359)
    words = escape("".join(sign if sign.isprintable() else " " for sign in caption))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">'
        f'<rect width="100%" height="100%" fill="hsl({hue},60%,45%)"/>'
        '<text x="50%" y="50%" fill="white" font-family="sans-serif" text-anchor="middle">'
        f"{words}</text></svg>\n"
    ).encode("utf-8", "replace")


def _points(seed: int) -> list[tuple[float, float, float]]:
    stretch = 0.5 + Seed(seed).fraction("stretch")
    # Rounded to what a 32-bit float can hold, so that a reader finds the stated bounds exactly.
    return [(x, struct.unpack("<f", struct.pack("<f", y * stretch))[0], z) for x, y, z in _TETRAHEDRON]

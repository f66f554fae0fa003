"""Files of trained weights: found, checked, read; nothing is ever downloaded.

safetensors is a plain format: eight bytes of length (little-endian), that many bytes of JSON (name → dtype, shape, byte range),
then the numbers. It cannot hold code. The reader here is ours, forty lines, so that the format needs no library.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_LARGEST_HEADER = 100 << 20  # as in the format's own reader


@dataclass(frozen=True)
class Source:
    """Where weights come from, for the message when they are missing, and what they must hash to (None: any)."""

    what: str
    url: str
    sha256: str
    file: str


def find(path: str | Path, source: Source, *, exact: bool = True) -> tuple[Path, str]:
    """The file and its sha256. Raises FileNotFoundError, or ValueError for another hash where it must be `exact`."""
    file = Path(path)
    if file.is_dir():
        file = file / source.file
    if not file.is_file():
        raise FileNotFoundError(
            f"no weights of {source.what} at {path}; allowed: the file {source.file} from {source.url} with sha256 "
            f"{source.sha256}; remedy: download it yourself, put it into {Path(path).parent}, and pass its path "
            "(nothing is downloaded by this program)"
        )
    with file.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if exact and found != source.sha256:
        raise ValueError(
            f"{file} has sha256 {found}; allowed: {source.sha256}, the weights of {source.what}; remedy: it is damaged or "
            f"another file: fetch {source.url} again"
        )
    return file, found


def read_safetensors(path: str | Path) -> dict[str, Tensor]:
    """name → tensor, on the CPU. Raises ValueError, with the file and the place, for anything that is not the format."""
    content = Path(path).read_bytes()
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(len(content) - 8, _LARGEST_HEADER):
        raise _broken(path, f"a header of {length} bytes in a file of {len(content)}")
    try:
        header = json.loads(content[8 : 8 + length])
    except ValueError as error:  # not UTF-8, or not JSON
        raise _broken(path, f"a header that is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise _broken(path, f"a header that is a {type(header).__name__}")
    data = bytearray(content[8 + length :])
    return {name: _tensor(path, name, entry, data) for name, entry in header.items() if name != "__metadata__"}


def _tensor(path: str | Path, name: str, entry: Any, data: bytearray) -> Tensor:
    try:
        dtype, shape, (start, stop) = _DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
        sound = all(isinstance(number, int) and number >= 0 for number in (*shape, start, stop))
    except (KeyError, TypeError, ValueError) as error:
        raise _broken(path, f"an entry {name} that reads {entry}") from error
    size = math.prod(shape) * dtype.itemsize if sound else -1
    if not sound or stop - start != size or stop > len(data):
        raise _broken(path, f"a tensor {name} of {shape} {entry['dtype']} at bytes {start} … {stop} of {len(data)}")
    if not size:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(data, dtype=dtype, count=math.prod(shape), offset=start).reshape(shape).clone()


def _broken(path: str | Path, what: str) -> ValueError:
    return ValueError(
        f"{path} has {what}; allowed: a whole safetensors file; remedy: it is truncated or corrupt: copy it again"
    )

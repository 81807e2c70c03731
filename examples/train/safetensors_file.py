"""Writes and reads safetensors without a package: eight bytes of length, a JSON header, the tensors' bytes."""

import json

import numpy as np

TYPES = {"F32": np.float32, "F16": np.float16, "U8": np.uint8, "I64": np.int64}
NAMES = {np.dtype(kind): name for name, kind in TYPES.items()}


def save(path, tensors):
    """`tensors`: names to arrays or PyTorch tensors, stored in the order of their names."""
    header, data, position = {}, [], 0
    for name in sorted(tensors):
        array = np.ascontiguousarray(np.asarray(tensors[name]))
        data.append(array.tobytes())
        end = position + len(data[-1])
        header[name] = {"dtype": NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [position, end]}
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.writelines(data)


def read(path):
    """Names to arrays."""
    with open(path, "rb") as file:
        data = file.read()
    start = 8 + int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8:start]).items():
        if name != "__metadata__":
            begin, end = (start + offset for offset in entry["data_offsets"])
            tensors[name] = np.frombuffer(data[begin:end], TYPES[entry["dtype"]]).reshape(entry["shape"])
    return tensors

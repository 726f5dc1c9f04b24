"""Check of ONNX files before a runtime loads them, without the ONNX library.

A model file is not trusted. A runtime would read other files as weights, run operators of
registered libraries, and execute endless loops if the file asks for them. A U-Net needs none of
this, so only operators that unetkit exports are accepted, with all weights inside the file.

An ONNX file is a Protocol Buffers message: fields, each with a number, a wire type and a value,
which may be a message itself. The numbers are those of onnx.proto.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from unetkit._shared.files import open_input, read_bytes
from unetkit.errors import ModelFileError

LARGEST_MODEL = (1 << 31) - 1  # bytes; the limit of Protocol Buffers
OPERATORS = {
    *("Add", "Cast", "Clip", "Concat", "Conv", "ConvTranspose", "DepthToSpace"),
    *("DequantizeLinear", "Erf", "Identity", "Max", "MaxPool", "Min", "Mul", "Pad"),
    *("QuantizeLinear", "Reciprocal", "ReduceMean", "Relu", "Reshape", "Slice", "Sqrt", "Sub"),
    "Transpose",
}
DOMAINS = ("", "ai.onnx")
OWN_FORMAT = b"ORTM"  # ONNX Runtime reads files with these bytes in its own format
# What users give in place of a model, by its ending and by its first bytes.
FOREIGN_SUFFIXES = {
    **dict.fromkeys((".h5", ".hdf5"), "an HDF5 file of weights, as Keras and run folders have it"),
    ".keras": "a Keras model",
    **dict.fromkeys((".pt", ".pth", ".ckpt", ".bin"), "a PyTorch checkpoint"),
    ".safetensors": "a safetensors file of weights",
    ".tflite": "a TensorFlow Lite model",
    ".pb": "a TensorFlow graph",
    **dict.fromkeys((".pkl", ".pickle", ".joblib"), "a pickle"),
    ".npz": "a NumPy archive",
    **dict.fromkeys((".engine", ".trt", ".plan"), "a TensorRT engine"),
    **dict.fromkeys((".mlmodel", ".mlpackage"), "a Core ML model"),
}
FOREIGN_SIGNATURES = {
    b"\x89hdf\r\n\x1a\n": "an HDF5 file of weights",
    b"pk\x03\x04": "a ZIP archive, as Keras models and PyTorch checkpoints are",
    b"<!doctype html": "a web page, in place of a download",
    b"<html": "a web page, in place of a download",
    b"\x80\x02": "a pickle, as old PyTorch checkpoints are",
    b"\x89png": "an image",
    b"\xff\xd8\xff": "an image",
}
DIGEST_KEY = b"unetkit.sha256"  # of the entry in the metadata
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types
# Field numbers. ModelProto: graph, functions, training_info, metadata_props. Its entries: key,
# value. GraphProto: node, initializer,
# sparse_initializer. NodeProto: op_type, attribute, domain. AttributeProto: t and tensors; g,
# graphs, and other types than numbers, text and tensors. TensorProto: external_data, data_location.
GRAPH, FUNCTIONS, TRAINING, METADATA = 7, 25, 20, 14
KEY, VALUE = 1, 2
NODE, INITIALIZER, SPARSE_INITIALIZER = 1, 5, 15
OP_TYPE, ATTRIBUTE, DOMAIN = 4, 5, 7
TENSORS, NESTED = (5, 10), (6, 11, 14, 15, 22, 23)
EXTERNAL_DATA, DATA_LOCATION = 13, 14


def require_plain(path: Path) -> bytes:
    """Reads a model file that has known operators and weights only.

    Returns:
        The bytes of the file.

    Raises:
        ModelFileError: The file is not an ONNX file, or has anything else than known operators and
            their weights.
    """
    with open_input(path) as file:
        foreign = name_foreign_format(path, file.read(4096))
    if foreign:
        raise _refusal(path, foreign)
    if path.stat().st_size > LARGEST_MODEL:
        raise _refusal(path, f"it has {path.stat().st_size / 2**30:.1f} GiB")
    content = read_bytes(path, LARGEST_MODEL)
    if content[4:8] == OWN_FORMAT:
        raise _refusal(path, "it is in ONNX Runtime's own format")
    try:
        graphs = 0
        for number, value in fields_of(memoryview(content)):
            if number in (FUNCTIONS, TRAINING):
                raise _refusal(path, "it contains functions or training information")
            if number == GRAPH:
                _check_graph(path, message_of(value))
                graphs += 1
        if not graphs:
            raise ValueError("no graph")
    except ValueError as error:
        if isinstance(error, ModelFileError):
            raise
        raise _refusal(path, f"it is damaged ({error})") from error
    return content


def metadata_entries(content: bytes) -> dict[str, bytes]:
    """Returns the metadata of an ONNX file, by key, as bytes that may be no text.

    Raises:
        ValueError: The file is damaged.
    """
    found = {}
    for number, value in fields_of(memoryview(content)):
        if number == METADATA:
            entry = {inner: bytes(message_of(part)) for inner, part in fields_of(message_of(value))}
            found[str(entry.get(KEY, b""), "utf-8", "replace")] = entry.get(VALUE, b"")
    return found


def add_digest(content: bytes) -> bytes:
    """Appends an entry to the metadata of a model: the SHA-256 of all its bytes until then."""
    digest = hashlib.sha256(content).hexdigest().encode()
    entry = b"".join(
        bytes([number << 3 | BYTES, len(text)]) + text
        for number, text in ((KEY, DIGEST_KEY), (VALUE, digest))
    )
    return content + bytes([METADATA << 3 | BYTES, len(entry)]) + entry


def is_checkable(path: Path, content: bytes) -> bool:
    """Compares a model file with the SHA-256 in its metadata, which is taken without that entry.

    Args:
        path: Path of the file, for errors.
        content: Bytes of the file, which are an ONNX model.

    Returns:
        Whether it has one; files of earlier versions and of other programs have none.

    Raises:
        ModelFileError: They differ.
    """
    message, found, recorded = memoryview(content), hashlib.sha256(), ""
    for number, value, start, end in _spans(message):
        entry = dict(fields_of(message_of(value))) if number == METADATA else {}
        if entry.get(KEY) == DIGEST_KEY:
            recorded = bytes(message_of(entry.get(VALUE, 0))).decode("ascii", "replace")
        else:
            found.update(message[start:end])
    if recorded and recorded != found.hexdigest():
        raise _refusal(path, "it is damaged (its bytes differ from the SHA-256 in its metadata)")
    return bool(recorded)


def name_foreign_format(path: Path, start: bytes) -> str:
    """Returns what a file is that is no ONNX file; "" if neither its start nor its name say so.

    Args:
        path: Path of the file.
        start: First bytes of the file.

    >>> name_foreign_format(Path("best.onnx"), b"")
    'it is empty'
    >>> name_foreign_format(Path("best.pth"), b"PK")
    'it is a PyTorch checkpoint'
    """
    if not start:
        return "it is empty"
    if start.startswith(b"version https://git-lfs.github.com/spec/"):
        return "it is a Git LFS pointer, in place of a file that was not downloaded (git lfs pull)"
    if start[4:8] == b"TFL3":
        return f"it is {FOREIGN_SUFFIXES['.tflite']}"
    by_name = FOREIGN_SUFFIXES.get(path.suffix.lower())
    if by_name:
        return f"it is {by_name}"
    for signature, what in FOREIGN_SIGNATURES.items():
        if start.lstrip().lower().startswith(signature):
            return f"it is {what}"
    return ""


def _check_graph(path: Path, graph: memoryview) -> None:
    for number, value in fields_of(graph):
        if number == NODE:
            _check_node(path, message_of(value))
        elif number == INITIALIZER:
            _check_tensor(path, message_of(value))
        elif number == SPARSE_INITIALIZER:
            raise _refusal(path, "it has sparse weights")


def _check_node(path: Path, node: memoryview) -> None:
    operator, domain = "", ""
    for number, value in fields_of(node):
        if number == OP_TYPE:
            operator = str(message_of(value), "utf-8")
        elif number == DOMAIN:
            domain = str(message_of(value), "utf-8")
        elif number == ATTRIBUTE:
            for inner, part in fields_of(message_of(value)):
                if inner in NESTED:
                    raise _refusal(path, "an attribute is not a number, text or tensor")
                if inner in TENSORS:
                    _check_tensor(path, message_of(part))
    if operator not in OPERATORS or domain not in DOMAINS:
        raise _refusal(path, f"it uses the operator {domain}:{operator}".replace(" :", " ")[:100])


def _check_tensor(path: Path, tensor: memoryview) -> None:
    for number, value in fields_of(tensor):
        if number == EXTERNAL_DATA or (number == DATA_LOCATION and value != 0):
            raise _refusal(path, "its weights are in another file")


def _refusal(path: Path, what: str) -> ModelFileError:
    return ModelFileError(
        f"{path} is not a model that can be loaded: {what}; accepted is a run folder or an .onnx "
        "file that unetkit exported"
    )


def message_of(value: int | memoryview) -> memoryview:
    """Returns the value of a field that is a message, text or bytes.

    Raises:
        ValueError: It is a number.
    """
    if isinstance(value, int):
        raise ValueError("a number instead of a message")
    return value


def fields_of(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yields number and value of each field of a message: a number or a view of its bytes."""
    return ((number, value) for number, value, _, _ in _spans(message))


def _spans(message: memoryview) -> Iterator[tuple[int, int | memoryview, int, int]]:
    """Number and value of each field of a message, and where its bytes begin and end.

    Raises:
        ValueError: The bytes are not a message.
    """
    position = 0
    while position < len(message):
        start = position
        key, position = _varint(message, position)
        number, kind = key >> 3, key & 7
        if not 0 < number < 1 << 29:  # above, readers that drop high bits find another field
            raise ValueError(f"field number {number}")
        value: int | memoryview
        if kind == VARINT:
            value, position = _varint(message, position)
        else:
            if kind == BYTES:
                size, position = _varint(message, position)
            elif kind in (FIXED32, FIXED64):
                size = 4 if kind == FIXED32 else 8
            else:
                raise ValueError(f"wire type {kind}")
            value = message[position : position + size]
            if len(value) < size:
                raise ValueError("it is cut off")
            position += size
        yield number, value, start, position


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """A number with seven bits per byte, and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            raise ValueError("it is cut off")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number of more than ten bytes")

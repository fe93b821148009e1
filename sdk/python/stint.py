"""Programs for Stint in Python: functions that map, combine and reduce.

    import stint

    def words(ctx, line, emit):
        for word in line.split():
            emit(word, 1)

    def total(ctx, word, counts, emit):
        emit(word, sum(counts))

    stint.main({
        "count": stint.Stage(map=words, combine=total, value=int),
        "total": stint.Stage(reduce=total, value=int),
    })

In the program's manifest a stage says sdk: [python3, wordcount.py]; this file is
one of the program's files. One process performs many operations, one after the
other; nothing may depend on what an earlier one left in variables. This file needs
Python 3.8 and nothing else; what is spoken is described in Stint's package
internal/frame.

Functions
    map(ctx, record, emit)          for each line (without its end), or whole file
    combine(ctx, key, values, emit) for some values of a key: emits values for the same key
    reduce(ctx, key, values, emit)  once for each key, with an iterator of its values

Text is UTF-8; bytes that are none come as surrogate escapes and go back as they
were. With Stage(text=False) everything is bytes. Stage(record=, key=, value=) name functions
that turn the text into something else: int, float, json.loads. emit(key, value)
takes str, bytes, int, float, None (no value at all), and anything else as JSON.
Keys are sorted by their bytes: 10 comes before 9.

combine may be called any number of times for a key, also with what it emitted and with
a single value, and not at all; so it is associative and commutative. Values come in
the order in which they were emitted, and are put together in a way that depends on nothing
but the operation's input: a sum of floats is the same, to the last digit, wherever
the operation is performed. Counters that combine adds to tell how often it was called.

An exception is a bad record, or a bad group: what was emitted of it is dropped, and where
the execution leaves out bad records, the operation goes on with the next.
stint.Fatal fails the operation, which is then tried again. What a program
prints is in the operation's log.

test(stages, lines) performs a program in this process, for its tests.
"""

import array
import collections
import io
import itertools
import json
import os
import signal
import struct
import sys
import traceback
import zlib

__all__ = ["Stage", "Context", "Fatal", "Stopped", "main", "test", "Result"]

VERSION = 1
MAX_PAYLOAD = 96 << 20
MAX_KEY = 16 << 20
MAX_VALUE = 64 << 20
MAX_BAD = 4 << 10
BATCH = 256 << 10

BEGIN, RECORDS, END, COUNTER, STATUS, BAD, DONE, FAILED = range(1, 9)


class Fatal(Exception):
    """An error that fails the operation, whatever is done about bad records."""


class Stopped(Exception):
    """Raised by a function that has saved itself since the operation was asked to end."""


class ProtocolError(Exception):
    """What was read is not as the format says."""


class Stage:
    """The functions of one stage, and how they take what they are given."""

    def __init__(self, map=None, combine=None, reduce=None, record=None, key=None, value=None, text=True):
        self.map, self.combine, self.reduce = map, combine, reduce
        self.record = _taker(record, text)
        self.key = _taker(key, text)
        self.value = _taker(value, text)


def _taker(convert, text):
    """Return a function of bytes, None where they are wanted as they are."""
    if convert is None:
        return _decode if text else None
    if convert in (int, float) or not text:
        return convert
    return lambda b: convert(_decode(b))


def _decode(b):
    return b.decode("utf-8", "surrogateescape")


def _encode(value):
    """Return the bytes that stand for a value, None for none."""
    kind = type(value)
    if kind is str:
        return value.encode("utf-8", "surrogateescape")
    if kind is bytes or value is None:
        return value
    if kind is int:
        return b"%d" % value
    if kind is float:
        return repr(value).encode()
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogateescape")


# Frames


def _frame(kind, *parts):
    head = struct.pack("<BBHI", VERSION, kind, 0, sum(map(len, parts)))
    crc = zlib.crc32(head)
    for part in parts:
        crc = zlib.crc32(part, crc)
    return b"".join((head, struct.pack("<I", crc), *parts))


class _Reader:
    """Reads frames, one after the other."""

    def __init__(self, stream):
        self.stream = stream
        self.number = 0

    def next(self):
        """Return the type and payload of the next frame, (None, None) after the last."""
        head = self.stream.read(12)
        if not head:
            return None, None
        if head[0] != VERSION:
            raise ProtocolError("protocol_error: expected version %d, got %d" % (VERSION, head[0]))
        if len(head) < 12:
            raise ProtocolError("truncated_frame: %d of 12 bytes of a header" % len(head))
        _, kind, zero, length, crc = struct.unpack("<BBHII", head)
        if zero or not BEGIN <= kind <= FAILED:
            raise ProtocolError("protocol_error: type %d" % kind)
        if length > MAX_PAYLOAD:
            raise ProtocolError("record_too_long: a frame of %d bytes" % length)
        payload = self.stream.read(length)
        if len(payload) < length:
            raise ProtocolError("truncated_frame: %d of %d bytes" % (len(payload), length))
        self.number += 1
        if zlib.crc32(payload, zlib.crc32(head[:8])) != crc:
            raise ProtocolError("protocol_error: frame %d checksum" % self.number)
        return kind, payload


def _numbers(b):
    out = array.array("I")
    if out.itemsize != 4:  # pragma: no cover
        return list(struct.unpack("<%dI" % (len(b) // 4), b))
    out.frombytes(b)
    if sys.byteorder == "big":
        out.byteswap()
    return out


def _bytes(numbers):
    out = array.array("I", numbers)
    if out.itemsize != 4:  # pragma: no cover
        return struct.pack("<%dI" % len(numbers), *numbers)
    if sys.byteorder == "big":
        out.byteswap()
    return out.tobytes()


def _parse_records(payload):
    """Return the keys' lengths, the values' lengths plus one, edges or None, and where the bytes begin."""
    if len(payload) < 8:
        raise ProtocolError("protocol_error: a records frame of %d bytes" % len(payload))
    n, flag = struct.unpack_from("<II", payload)
    at = 8 + n * (8 + flag)
    if flag > 1 or at > len(payload):
        raise ProtocolError("protocol_error: %d records in a frame of %d bytes" % (n, len(payload)))
    keys, values = _numbers(payload[8 : 8 + 4 * n]), _numbers(payload[8 + 4 * n : 8 + 8 * n])
    total = sum(keys) + sum(values) - (n - values.count(0))
    if total != len(payload) - at:
        raise ProtocolError("protocol_error: a records frame has %d bytes; its lengths are of %d" % (len(payload) - at, total))
    return keys, values, payload[8 + 8 * n : at] if flag else None, at


def _records(payload):
    """Yield key, value and edge of each record."""
    keys, values, edges, at = _parse_records(payload)
    for k, v, edge in zip(keys, values, edges or bytes(len(keys))):
        end = at + k
        if v:
            behind = end + v - 1
            yield payload[at:end], payload[end:behind], edge
            at = behind
        else:
            yield payload[at:end], None, edge
            at = end


def _cut(payload, take):
    """Return the records' keys and values, and what is to be done with each value.

    Values that are to be text are cut out of the text of all, if that is ASCII.
    """
    keys, codes, _, at = _parse_records(payload)
    if any(keys) or 0 in codes:
        records = list(_records(payload))
        return [record[0] for record in records], [record[1] for record in records], take
    data, values, at = payload[at:], [], 0
    if take is _decode and data.isascii():
        data, take = data.decode("ascii"), None
    for code in codes:
        end = at + code - 1
        values.append(data[at:end])
        at = end
    return itertools.repeat(b""), values, take


def _records_frame(records):
    """Return the frame of a list of keys and values."""
    keys, values, parts = [], [], []
    for key, value in records:
        keys.append(len(key))
        values.append(0 if value is None else len(value) + 1)
        parts.append(key)
        parts.append(value or b"")
    return _frame(RECORDS, struct.pack("<II", len(keys), 0), _bytes(keys), _bytes(values), b"".join(parts))


# Operations


class Context:
    """What a function knows of its operation, and how it says more than records."""

    stopping = False  # the operation is asked to end early; of the whole process

    def __init__(self, begin, send):
        self._send = send
        self._counters = {}
        self.execution = begin.get("execution", "")
        self.stage = begin["stage"]
        self.operation = begin.get("operation", "")
        self.attempt = begin.get("attempt", 1)
        self.params = begin.get("params") or {}
        self.input = begin.get("input") or {}  # url, offset, length of the first piece
        self.partition = begin.get("partition", 0)
        self.partitions = begin.get("partitions", 1)
        self.broadcast = begin.get("broadcast") or {}  # by stage: path of a file with its output
        self.checkpoint = begin.get("checkpoint", "")  # folder to save itself in
        self.file = ""  # of a record that is a whole file: its address
        self.record = 0  # number of the record, or of the group's first, from 0
        self.edge = 0  # by which the value that was taken last came, in a join

    def count(self, group, name, n=1):
        """Add to a counter."""
        self._counters[group, name] = self._counters.get((group, name), 0) + n

    def status(self, text):
        """Say in a line what the operation is doing."""
        self._send(_frame(STATUS, text.encode("utf-8", "replace")))


class _Operation:
    """One operation while it is performed."""

    def __init__(self, begin, frames, send):
        self.begin, self.frames, self.send = begin, frames, send
        self.context = Context(begin, send)
        self.ended = False
        self.framed = 0  # records of the frames that were read
        self.read = 0  # records that were taken
        self.sent = 0
        self.flushes = 0
        self.gather = None
        self._reset()

    def _reset(self):
        self.keys, self.values, self.parts, self.size = [], [], [], 0
        self.full = BATCH  # size at which what was emitted is sent

    def payloads(self):
        """Yield the payloads of the frames of records, up to the end frame."""
        while not self.ended:
            kind, payload = self.frames.next()
            if kind == RECORDS:
                if len(payload) >= 4:  # what is shorter is refused by those who read it
                    self.framed += struct.unpack_from("<I", payload)[0]
                yield payload
            elif kind == END:
                self.ended = True
                if len(payload) != 8:
                    raise ProtocolError("protocol_error: an end frame of %d bytes; expected 8" % len(payload))
                (n,) = struct.unpack("<Q", payload)
                if n != self.framed:
                    raise ProtocolError("protocol_error: the end of %d records; %d came" % (n, self.framed))
            elif kind is None:
                raise ProtocolError("truncated_stream: no end frame")
            else:
                raise ProtocolError("protocol_error: type %d in the middle of an operation" % kind)

    def drain(self):
        """Read on to the end of the input."""
        for _ in self.payloads():
            pass

    def emit(self, key, value=None):
        """Take a record of the output."""
        key = key.encode("utf-8", "surrogateescape") if type(key) is str else _encode(key) or b""
        size, code = len(key), 0
        if size > MAX_KEY:
            raise self.too_long("key", size, MAX_KEY)
        if value is not None:  # before anything is kept: a value that has no bytes raises
            value = b"%d" % value if type(value) is int else _encode(value)
            code = len(value) + 1
            if code > MAX_VALUE + 1:
                raise self.too_long("value", code - 1, MAX_VALUE)
            key += value
        self.keys.append(size)
        self.values.append(code)
        self.parts.append(key)
        self.size = size = self.size + len(key) + 8
        if size >= self.full:
            self.flush()

    def too_long(self, what, size, limit):
        word = "key_too_long" if what == "key" else "record_too_long"
        return ValueError("%s: record %d: a %s of %d bytes: limit %d MiB" % (word, self.sent + len(self.keys) + 1, what, size, limit >> 20))

    def flush(self):
        """Send the records that were emitted."""
        if not self.keys:
            return
        head = struct.pack("<II", len(self.keys), 0)
        self.send(_frame(RECORDS, head, _bytes(self.keys), _bytes(self.values), b"".join(self.parts)))
        self.sent += len(self.keys)
        self.flushes += 1
        self._reset()

    def finish(self):
        """Send everything that was emitted."""
        if self.gather:
            self.gather.settle()
            self.gather.empty()
        self.flush()

    def sink(self):
        """Return what takes the records that are emitted: its mark, undo and emit."""
        if self.gather and self.gather.off:
            self.gather.settle()
            self.gather = None
        return self.gather or self

    def mark(self):
        """Begin a record or group: until it has filled a frame by itself it can be left out."""
        if self.size >= BATCH:
            self.flush()
        self.full = self.size + BATCH
        return len(self.keys), self.size, self.flushes

    def undo(self, mark):
        """Drop what was emitted since the mark. Return False if it was sent."""
        records, size, flushes = mark
        if flushes != self.flushes:
            return False
        del self.keys[records:], self.values[records:], self.parts[records:]
        self.size = size
        return True

    def bad(self, sink, mark, number, count, record, error):
        """Drop what was emitted since the mark, and report the record."""
        reason = "%s: %s" % (type(error).__name__, error)
        if not sink.undo(mark):
            raise Fatal("record %d: %s (it cannot be left out: it has emitted more than %d KiB)" % (number + 1, reason, BATCH >> 10))
        reason = reason.encode("utf-8", "replace")[:MAX_BAD]
        self.send(_frame(BAD, struct.pack("<QQI", number, count, len(reason)), reason, (record or b"")[:MAX_BAD]))

    def map(self, stage):
        context, function = self.context, stage.map
        for payload in self.payloads():
            sink = self.sink()
            mark, emit = sink.mark, sink.emit
            keys, values, take = _cut(payload, stage.record)
            first = self.read
            self.read += len(values)
            for number, key, value in zip(itertools.count(first), keys, values):
                context.record = number
                if key:
                    context.file = _decode(key)
                before = mark()
                try:
                    function(context, take(value) if take else value, emit)
                except (Fatal, Stopped, ProtocolError):
                    raise
                except Exception as error:
                    self.bad(sink, before, number, 1, _encode(value), error)

    def groups(self, stage, function):
        """Call function for each key with an iterator of its values."""
        records = self.joined()
        ahead = next(records, None)
        context = self.context
        while ahead is not None:
            sink = self.sink()
            group = _Group(self, stage, records, ahead)
            number = context.record = self.read - 1
            mark = sink.mark()
            try:
                function(context, stage.key(group.key) if stage.key else group.key, group, sink.emit)
            except (Fatal, Stopped, ProtocolError):
                raise
            except Exception as error:
                ahead = group.skip()
                self.bad(sink, mark, number, self.read - number - (ahead is not None), group.key, error)
            ahead = group.skip()

    def joined(self):
        for payload in self.payloads():
            for record in _records(payload):
                self.read += 1
                yield record


ENTRY = 200  # bytes, about, that a key and its list take beside their text
VALUE = 16  # that a value does
LOG = 1 << 17  # records that are emitted before they are put together
SHORT = 256  # characters of a key that is not counted by its length before
TRIAL = 1 << 17  # records after which it is seen whether keys recur


class _Gatherer:
    """Combines what an operation emits, as far as its budget goes, before it is sent.

    The values of a key are kept in the order in which they came, as the function takes
    them if that is a number, and as bytes otherwise. What is sent is the same for the same
    records: keys in the order in which they came first.
    """

    def __init__(self, operation, stage, budget):
        self.operation, self.stage, self.budget = operation, stage, budget
        self.context = Context(operation.begin, operation.send)
        self.context._counters = operation.context._counters
        self.number = stage.value if stage.value in (int, float) else None
        self.table = {}  # by key, as text: a list of values
        self.keys, self.values = [], []  # of the records that were emitted last
        self.wrong = set()  # keys on whose values the function failed
        self.size = self.records = self.flushes = self.emptied = 0
        self.off = False  # most keys came once: it only costs
        self.single = False  # every key was sent once, the last time
        self.emit = self._emit()

    def _emit(self):
        """Return the function that takes a record of the output."""
        number, keys, slow, settle = self.number, self.keys, self._add, self.settle
        add_key, add_value, limit = self.keys.append, self.values.append, 2 * LOG

        def emit(key, value=None):
            if type(value) is number and type(key) is str and key.isascii() and len(key) < SHORT:
                add_key(key)
                add_value(value)
                if len(keys) >= limit:
                    settle()
            else:
                slow(key, value)

        return emit

    def _add(self, key, value):
        """Take a record whose key is long or not ASCII, or whose value is no plain number."""
        if type(key) is not str or not key.isascii():
            key = _encode(key) or b""
            size, key = len(key), _decode(key)
        else:
            size = len(key)
        if size > MAX_KEY:
            raise self.operation.too_long("key", size, MAX_KEY)
        value = self._kept(value)
        if type(value) is bytes:
            if len(value) > MAX_VALUE:
                raise self.operation.too_long("value", len(value), MAX_VALUE)
            size += len(value)
        self.keys.append(key)
        self.values.append(value)
        self.size += size
        if len(self.keys) >= 2 * LOG or self.size > self.budget + BATCH:
            self.settle()

    def _kept(self, value):
        """Return a value as it is kept."""
        if value is None or type(value) is self.number:
            return value
        value = _encode(value)
        try:
            return self.number(value) if self.number else value
        except ValueError:
            return value

    def mark(self):
        """Begin a record or group: until it has filled a frame by itself it can be left out."""
        if len(self.keys) >= LOG or self.size > self.budget:
            self.settle()
        return len(self.keys), self.size, self.flushes

    def undo(self, mark):
        """Drop what was emitted since the mark. Return False if it was settled."""
        records, size, flushes = mark
        if flushes != self.flushes:
            return False
        del self.keys[records:], self.values[records:]
        self.size = size
        return True

    def settle(self):
        """Put what was emitted last into the table, and make room if there is none."""
        keys, values, table = self.keys, self.values, self.table
        before, n = len(table), len(keys)
        if self.number is int and n and values.count(values[0]) == n and set(map(type, values)) == {int}:
            for key, count in collections.Counter(keys).items():
                if key in table:
                    table[key] += values[:count]
                else:
                    table[key] = values[:count]
        else:
            for key, value in zip(keys, values):
                if key in table:
                    table[key].append(value)
                else:
                    table[key] = [value]
        self.flushes += 1
        self.records += n
        self.size += VALUE * n + (ENTRY + 8) * (len(table) - before)
        keys.clear()
        values.clear()
        if self.size > self.budget:
            self.shrink()
        if self.records >= TRIAL and len(table) > self.records // 4 * 3:
            self.off = True
        if self.off:
            self.empty()

    def shrink(self):
        """Combine the values of every key, and send them all unless that makes much room."""
        self.combine()
        self.size = 0
        for key, values in self.table.items():
            self.size += len(key) + ENTRY + VALUE * len(values) + sum(len(v) for v in values if type(v) is bytes)
        if self.size > self.budget // 4 * 3:
            self.empty()

    def combine(self):
        """Combine the values of every key that has several.

        Where the program fails on them they stay: what is done about a bad group is
        seen when all values of the key are combined.
        """
        table, wrong = self.table, self.wrong
        none = []
        for key, values in table.items():
            if len(values) > 1 and key not in wrong:
                try:
                    values[:] = self._combined(key, values)
                except (Fatal, Stopped, ProtocolError):
                    raise
                except Exception:
                    wrong.add(key)
                if not values:
                    none.append(key)
        for key in none:
            del table[key]

    def _combined(self, key, values):
        stage, number, out = self.stage, self.number, []

        def emit(other, value=None):
            if other is not given and other != given:
                raise ValueError("combine: key %r of the values of %r" % (other, given))
            out.append(value if type(value) is number else self._kept(value))

        given = key
        if stage.key is not _decode:
            given = key.encode("utf-8", "surrogateescape")
            given = stage.key(given) if stage.key else given
        take = None if number else stage.value
        if take:
            values = [value if value is None else take(value) for value in values]
        elif number and any(type(value) is bytes for value in values):
            values = [number(value) if type(value) is bytes else value for value in values]
        stage.combine(self.context, given, iter(values), emit)
        return out

    def empty(self):
        """Combine the values of every key and send them."""
        self.combine()
        emit, self.single = self.operation.emit, True
        for key, values in self.table.items():
            for value in values:
                emit(key, value)
            if len(values) != 1:
                self.single = False
        self.table.clear()
        self.wrong.clear()
        self.size = self.records = 0
        self.emptied += 1

    def once(self):
        """Report whether no key was sent twice."""
        return self.emptied == 1 and self.single and not self.off


class _Group:
    """The values of a key."""

    def __init__(self, operation, stage, records, first):
        self.key = first[0]
        self._context, self._take, self._records = operation.context, stage.value, records
        self._ahead = first

    def __iter__(self):
        return self

    def __next__(self):
        record = self._ahead
        if record is None:
            record = self._ahead = next(self._records, None)
        if record is None or record[0] != self.key:
            raise StopIteration
        self._ahead = None
        self._context.edge = record[2]
        value = record[1]
        return self._take(value) if self._take and value is not None else value

    def skip(self):
        """Return the first record behind the group, None if there is none."""
        while True:
            if self._ahead is None:
                self._ahead = next(self._records, None)
            if self._ahead is None or self._ahead[0] != self.key:
                return self._ahead
            self._ahead = None


def _perform(operation, stages):
    """Perform an operation and tell how it ended."""
    begin = operation.begin
    number = begin["number"]
    try:
        stage = stages.get(begin["stage"], stages.get(None))
        if stage is None:
            raise Fatal("stage %r: the program has the stages %s" % (begin["stage"], ", ".join(sorted(map(str, stages)))))
        function = getattr(stage, begin["role"], None)
        if function is None:
            raise Fatal("stage %r: the program has no function to %s" % (begin["stage"], begin["role"]))
        if begin.get("gather", 0) > 0 and stage.combine and begin["role"] != "combine":
            operation.gather = _Gatherer(operation, stage, begin["gather"])
        if begin["role"] == "map":
            operation.map(stage)
        else:
            operation.groups(stage, function)
        operation.finish()
    except ProtocolError:
        raise
    except Exception as error:
        reason = str(error) if isinstance(error, Fatal) else "%s: %s" % (type(error).__name__, error)
        if isinstance(error, Stopped):
            reason = "stopped"
        elif not isinstance(error, Fatal):
            traceback.print_exc()
        operation.send(_frame(FAILED, struct.pack("<I", number), reason.encode("utf-8", "replace")[:MAX_BAD]))
        operation.drain()
        return
    for (group, name), n in sorted(operation.context._counters.items()):
        counter = {"group": group, "name": name, "add": n}
        operation.send(_frame(COUNTER, json.dumps(counter, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")))
    once = b"\1" if operation.gather and operation.gather.once() else b""
    operation.send(_frame(DONE, struct.pack("<IQ", number, operation.sent), once))


def _serve(stages, stream, send):
    """Perform one operation after the other until the stream ends."""
    frames = _Reader(stream)
    while True:
        kind, payload = frames.next()
        if kind is None:
            return
        if kind != BEGIN:
            raise ProtocolError("protocol_error: type %d; expected 1, the beginning of an operation" % kind)
        _perform(_Operation(json.loads(payload), frames, send), stages)


def _all(stages, functions):
    if isinstance(stages, Stage):
        stages = {None: stages}
    if functions:
        if stages:
            raise TypeError("either stages or functions")
        stages = {None: Stage(**functions)}
    return stages or {}


def _stop(*_):
    Context.stopping = True


def main(stages=None, **functions):
    """Perform the operations that Stint gives this process.

    stages is a dictionary of Stage by name. A program whose stages have each their own role may
    do without names: main(map=…, combine=…, reduce=…, value=int).
    """
    stages = _all(stages, functions)
    if not os.environ.get("STINT_FRAMES"):
        sys.exit("%s is a program for Stint: run it with stint run; to test it use stint.test" % sys.argv[0])
    signal.signal(signal.SIGTERM, _stop)
    sys.stdout.reconfigure(line_buffering=True)  # the process may be killed at any time
    stream = io.BufferedReader(io.FileIO(os.dup(0), "rb"), 1 << 20)
    out = os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)  # what the program prints is not Stint's

    def send(data):
        data = memoryview(data)
        try:
            sys.stdout.flush()
            while data:
                data = data[os.write(out, data) :]
        except OSError as error:
            raise ProtocolError("write to the worker: %s" % error) from None

    try:
        _serve(stages, stream, send)
    except ProtocolError as error:
        sys.exit(str(error))


# Tests


class Result:
    """What came of a test: lines of the output, counters by group and name, and bad
    records as (stage, number, record, reason)."""

    def __init__(self):
        self.lines, self.counters, self.bad = [], {}, []


def _partition(key, n):
    """Return the partition of a key, as Hadoop's hash has it."""
    h = 1
    for b in key:
        h = (31 * h + (b - 256 if b > 127 else b)) & 0xFFFFFFFF
    return (h & 0x7FFFFFFF) % n


def test(stages, lines, order=None, params=None, subsets=1, partitions=1, gather=32 << 20):
    """Perform a program in this process, as Stint does, over lines of text.

    order names the stages, each of which reads the output of the one before:
    one with a map function its lines, another its records sorted by key. gather is
    how many bytes of its output an operation gathers to combine it early.
    """
    stages = _all(stages, None)
    order = list(order or stages)
    result = Result()
    lines = list(lines)
    parts = [
        [(b"", _encode(line)) for line in lines[i * len(lines) // subsets : (i + 1) * len(lines) // subsets]]
        for i in range(subsets)
    ]
    for i, name in enumerate(order):
        role = "map" if stages[name].map else "reduce"
        shuffled = i + 1 < len(order) and not stages[order[i + 1]].map
        written = [
            _test_operation(stages, result, name, role, number, part, params, partitions, gather if shuffled else 0)
            for number, part in enumerate(parts)
        ]
        if i + 1 == len(order):
            result.lines = [_line(*record) for part in written for record in part]
        elif stages[order[i + 1]].map:
            parts = [[(b"", _encode(_line(*record))) for record in part] for part in written]
        else:
            parts = _shuffle(stages, result, name, written, params, partitions)
    return result


def _line(key, value):
    return _decode(key if value is None else key + b"\t" + value)


def _shuffle(stages, result, name, written, params, partitions):
    out = [[] for _ in range(partitions)]
    for part in written:
        mine = [[] for _ in range(partitions)]
        for record in part:
            mine[_partition(record[0], partitions)].append(record)
        for p, records in enumerate(mine):
            records.sort(key=lambda record: record[0])
            if records and stages[name].combine:
                records = _test_operation(stages, result, name, "combine", p, records, params, partitions)
            out[p] += records
    for records in out:
        records.sort(key=lambda record: record[0])
    return out


def _test_operation(stages, result, name, role, number, records, params, partitions, gather=0):
    begin = {
        "number": 1, "stage": name, "operation": "%s/%d" % (name, number), "attempt": 1, "role": role,
        "params": params, "partition": number, "partitions": partitions, "gather": gather,
    }
    stream = [_frame(BEGIN, json.dumps(begin).encode())]
    for i in range(0, len(records), 1000):
        stream.append(_records_frame(records[i : i + 1000]))
    stream.append(_frame(END, struct.pack("<Q", len(records))))
    said = []
    _serve(stages, io.BytesIO(b"".join(stream)), said.append)
    frames, out = _Reader(io.BytesIO(b"".join(said))), []
    while True:
        kind, payload = frames.next()
        if kind == RECORDS:
            out += [(key, value) for key, value, _ in _records(payload)]
        elif kind == COUNTER:
            c = json.loads(payload)
            group = result.counters.setdefault(c["group"], {})
            group[c["name"]] = group.get(c["name"], 0) + c["add"]
        elif kind == BAD:
            n, _, length = struct.unpack_from("<QQI", payload)
            result.bad.append((name, n, _decode(payload[20 + length :]), payload[20 : 20 + length].decode()))
        elif kind == FAILED:
            raise Fatal("stage %s: %s" % (name, payload[4:].decode()))
        elif kind == DONE:
            return out

"""Tests of stint.py: python3 -m unittest stint_test"""

import io
import json
import os
import random
import struct
import subprocess
import sys
import unittest
from contextlib import redirect_stderr
from unittest import mock

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import stint  # noqa: E402

FRAMES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "internal", "frame", "testdata")


def words(ctx, line, emit):
    for word in line.split():
        emit(word, 1)


def total(ctx, word, counts, emit):
    emit(word, sum(counts))


WORDCOUNT = {
    "count": stint.Stage(map=words, combine=total, value=int),
    "total": stint.Stage(reduce=total, value=int),
}


def golden():
    """The program whose frames are kept in internal/frame/testdata."""
    emitted = 0

    def function(ctx, line, emit):
        nonlocal emitted
        if ctx.record == 0:
            emitted = 0
            ctx.status("at work \u00fc")
        if line == "bad":
            emit(line)
            raise ValueError("it is bad")
        ctx.count("g", "lines", -1)
        for word in line.split():
            emit(word, emitted)
            emitted += 1
        if ctx.record == 3:
            emit("end")

    return {"count": stint.Stage(map=function)}


def summing():
    """The program of the frames whose output is gathered."""

    def function(ctx, line, emit):
        for word in line.split():
            if word == "bad":
                raise ValueError("it is bad")
            emit(word, 1)

    return {"sum": stint.Stage(map=function, combine=total, value=int)}


def joining(value=None):
    """Puts the values of a key together as text, so that their order is seen."""

    def function(ctx, line, emit):
        for i, word in enumerate(line.split()):
            emit(word, "%d.%d " % (ctx.record, i) if i % 5 else None)
        if line.endswith("7"):
            raise ValueError("it ends with 7")

    def join(ctx, key, values, emit):
        emit(key, "".join(v or "- " for v in values))

    return {"a": stint.Stage(map=function, combine=join, value=value), "b": stint.Stage(reduce=join)}


def some_lines(n):
    pick = random.Random(n)
    words = ["\u00fc", "\udcff", "a" * 300]
    return [" ".join(pick.choice(words + [str(pick.randrange(1 + pick.randrange(n)))]) for _ in range(pick.randrange(9))) for _ in range(n)]


def read(name):
    with open(os.path.join(FRAMES, name), "rb") as f:
        return f.read()


def serve(stages, stream):
    said = []
    stint._serve(stages, io.BytesIO(stream), said.append)
    return b"".join(said)


def only(function, **kw):
    return {"only": stint.Stage(map=function, **kw)}


class Frames(unittest.TestCase):
    def test_a_program_says_the_golden_bytes(self):
        self.assertEqual(serve(golden(), 2 * read("worker.frames")), 2 * read("program.frames"))
        self.assertEqual(serve(summing(), 2 * read("gather-worker.frames")), 2 * read("gather-program.frames"))

    def test_a_conversation_that_is_none_ends(self):
        stream = read("worker.frames")
        altered = stream[:-1] + bytes([stream[-1] ^ 1])
        for data, want in (
            (b"Great", "expected version 1, got 71"),
            (stream[:-1], "truncated_frame"),
            (stream[:-20], "truncated_stream"),
            (stream[-20:], "type 3; expected 1"),
            (altered, "frame 3 checksum"),
            (stint._frame(9), "type 9"),
        ):
            with self.subTest(want), self.assertRaisesRegex(stint.ProtocolError, want):
                serve(golden(), data)

    def test_edges_of_a_join(self):
        edges = []

        def reduce(ctx, key, values, emit):
            emit(key, " ".join("%d%s" % (ctx.edge, v) for v in values))

        payload = struct.pack("<II", 3, 1) + struct.pack("<3I", 1, 1, 1) + struct.pack("<3I", 2, 2, 2) + bytes([0, 2, 1]) + b"axaybz"
        stream = stint._frame(1, json.dumps({"number": 1, "stage": "j", "role": "reduce"}).encode())
        stream += stint._frame(2, payload) + stint._frame(3, struct.pack("<Q", 3))
        frames = stint._Reader(io.BytesIO(serve({"j": stint.Stage(reduce=reduce)}, stream)))
        _, payload = frames.next()
        edges = [(k, v) for k, v, _ in stint._records(payload)]
        self.assertEqual(edges, [(b"a", b"0x 2y"), (b"b", b"1z")])


class Functions(unittest.TestCase):
    def test_wordcount_is_the_same_for_all_subsets_and_partitions(self):
        lines = ["the cat", "and the dog", b"\xff\xfe and".decode("utf-8", "surrogateescape"), "", "the\tcat the"]
        want = sorted(["and\t2", "cat\t2", "dog\t1", "the\t4", "\udcff\udcfe\t1"])
        for subsets in range(1, 8):
            for partitions in range(1, 5):
                got = stint.test(WORDCOUNT, lines, subsets=subsets, partitions=partitions)
                self.assertEqual(sorted(got.lines), want)

    def test_values(self):
        def function(ctx, value, emit):
            emit("k", value)

        for kind, line, want in (
            (int, "7", "k\t7"),
            (float, "0.10", "k\t0.1"),
            (json.loads, '{"a": [1, null]}', 'k\t{"a":[1,null]}'),
            (None, "\udcff", "k\t\udcff"),
        ):
            self.assertEqual(stint.test(only(function, record=kind), [line]).lines, [want])
        self.assertEqual(stint.test(only(function, text=False), ["\udcff"]).lines, ["k\t\udcff"])
        self.assertEqual(stint.test(only(lambda c, r, emit: emit(r)), ["a"]).lines, ["a"])

    def test_bad_records_leave_nothing(self):
        def function(ctx, n, emit):
            emit("seen", n)
            ctx.count("g", "all")
            emit("inverse", 6 // n)

        got = stint.test(only(function, record=int), ["1", "0", "x", "3"])
        self.assertEqual(got.lines, ["seen\t1", "inverse\t6", "seen\t3", "inverse\t2"])
        self.assertEqual([(b[1], b[2]) for b in got.bad], [(1, "0"), (2, "x")])
        self.assertRegex(got.bad[0][3], "^ZeroDivisionError: ")
        self.assertEqual(got.counters, {"g": {"all": 3}})

    def test_bad_groups(self):
        def reduce(ctx, key, values, emit):
            emit(key, next(values))
            if key == "bad":
                open("/no/such/file")

        stages = {"a": stint.Stage(map=words), "b": stint.Stage(reduce=reduce)}
        got = stint.test(stages, ["bad a x", "x bad a"])
        self.assertEqual(got.lines, ["a\t1", "x\t1"])
        self.assertEqual([b[:3] for b in got.bad], [("b", 2, "bad")])

    def test_operations_fail(self):
        def fatal(ctx, line, emit):
            raise stint.Fatal("no table")

        def stopped(ctx, line, emit):
            raise stint.Stopped()

        def late(ctx, line, emit):
            emit("", "x" * 300000)
            raise ValueError("too late")

        for function, want in ((fatal, "stage only: no table"), (stopped, "stopped"), (late, "record 1: ValueError: too late .it cannot")):
            with self.subTest(want), self.assertRaisesRegex(stint.Fatal, want), redirect_stderr(io.StringIO()):
                stint.test(only(function), ["a"])
        with self.assertRaisesRegex(stint.Fatal, "the program has no function to reduce"):
            stint.test({"a": stint.Stage()}, ["a"])

    def test_an_operation_that_fails_leaves_the_rest_of_its_input(self):
        def picky(ctx, line, emit):
            emit(line)
            if line == "b":
                raise stint.Fatal("no b")

        def operation(lines):
            return b"".join((
                stint._frame(1, json.dumps({"number": 1, "stage": "only", "role": "map"}).encode()),
                stint._records_frame([(b"", line) for line in lines]),
                stint._frame(3, struct.pack("<Q", len(lines))),
            ))

        said = serve(only(picky), operation([b"a", b"b", b"c"]) + operation([b"d"]))
        frames, kinds = stint._Reader(io.BytesIO(said)), []
        while not kinds or kinds[-1] is not None:
            kinds.append(frames.next()[0])
        self.assertEqual(kinds, [8, 2, 7, None])

    def test_a_value_that_cannot_be_emitted_leaves_nothing(self):
        def careful(ctx, line, emit):
            try:
                emit("k", object())
            except TypeError:
                emit("k", line)

        self.assertEqual(stint.test(only(careful), ["a", "b"]).lines, ["k\ta", "k\tb"])
        got = stint.test(only(lambda c, r, emit: emit(r * (stint.MAX_KEY + 1), 1)), ["a"])
        self.assertEqual([b[3] for b in got.bad], ["ValueError: key_too_long: record 1: a key of 16777217 bytes: limit 16 MiB"])

    def test_bad_records_are_left_out_wherever_a_frame_ends(self):
        def function(ctx, line, emit):
            emit("k", "x" * 1000)
            emit("k", "y" * 1000)
            if int(line) % 2:
                raise ValueError("odd")

        for size in range(1000, 1003):
            got = stint.test(only(function), map(str, range(size)))
            self.assertEqual((len(got.lines), len(got.bad)), (2 * (size - size // 2), size // 2))

    def test_the_partition_is_that_of_the_shuffle(self):
        # of shuffle.HashPartition, which is Hadoop's
        self.assertEqual([stint._partition(k, 1 << 20) for k in (b"", b"a", b"\xff", b"hello")], [1, 128, 30, 913777])


class Gathering(unittest.TestCase):
    def test_what_is_gathered_makes_no_difference(self):
        for n in (0, 1, 30, 1500):
            lines = some_lines(n)
            for stages in (joining(), joining(value=str), WORDCOUNT):
                order = list(stages)
                want = stint.test(stages, lines, order, subsets=3, partitions=2, gather=0)
                for log, gather in ((9, 1), (20, 3000), (100, 30000), (1 << 17, 1 << 20)):
                    with self.subTest(n=n, log=log, order=order), mock.patch.object(stint, "LOG", log):
                        got = stint.test(stages, lines, order, subsets=3, partitions=2, gather=gather)
                        self.assertEqual(got.lines, want.lines)
                        self.assertEqual([b[:3] for b in got.bad], [b[:3] for b in want.bad])

    def test_values_are_what_they_were(self):
        def emit_all(ctx, line, emit):
            for key in ("k", b"k", 7, "7"):
                for value in (1, 10**30, -1, "5", b"6", " 8 ", True, 2.5, None):
                    emit(key, value)

        def collect(ctx, key, values, emit):
            for v in values:
                emit(key, v)

        for value in (int, float, None, json.loads):
            stages = {
                "a": stint.Stage(map=emit_all, combine=collect, value=value),
                "b": stint.Stage(reduce=collect),
            }
            with self.subTest(value=value):
                want = stint.test({"a": stint.Stage(map=emit_all), "b": stages["b"]}, ["", ""])
                got = stint.test(stages, ["", ""], gather=1 << 20)
                apart = stint.test(stages, ["", ""], gather=0)
                self.assertEqual((got.lines, got.bad), (apart.lines, apart.bad))
                if value is None:
                    self.assertEqual(got.lines, want.lines)

    def test_keys_that_come_once_are_sent_as_they_are(self):
        lines = ["%07d" % i for i in range(1 << 18)]
        got = stint.test(WORDCOUNT, lines + lines[:1])
        self.assertEqual(got.lines, [lines[0] + "\t2"] + [line + "\t1" for line in lines[1:]])

    def test_groups_that_cannot_be_combined_are_bad_once(self):
        def three(ctx, line, emit):
            key, value = line.split()
            for _ in range(3):
                emit(key, value)

        def some(ctx, key, values, emit):
            n = sum(values)
            if key == "x":
                raise why
            if key == "none":
                return
            emit(key, n)

        def last(ctx, key, values, emit):
            emit(key, " ".join(values))

        stages = {"a": stint.Stage(map=three, combine=some, value=int), "b": stint.Stage(reduce=last)}
        why = ValueError("no x")
        for gather in (0, 1, 1000, 1 << 20):
            with self.subTest(gather):
                got = stint.test(stages, ["x 1", "y 2", "none 1", "n one"], gather=gather)
                self.assertEqual(got.lines, ["y\t6"])
                self.assertEqual([b[2] for b in got.bad], ["n", "x"])
        why = stint.Fatal("no disk")
        with self.assertRaisesRegex(stint.Fatal, "no disk"):
            stint.test(stages, ["x 1"])

    def test_a_record_is_left_out_until_it_fills_a_frame(self):
        def function(ctx, n, emit):
            for i in range(n):
                emit(str(i % 3), 1)
            raise ValueError("late")

        stages = {"a": stint.Stage(map=function, combine=total, record=int, value=int), "b": stint.Stage(reduce=total, value=int)}
        with mock.patch.object(stint, "LOG", 50):
            got = stint.test(stages, ["49", "49", "50"])
            self.assertEqual((got.lines, len(got.bad)), ([], 3))
            with self.assertRaisesRegex(stint.Fatal, "cannot be left out"), redirect_stderr(io.StringIO()):
                stint.test(stages, ["100"])


class Process(unittest.TestCase):
    def test_what_a_program_prints_is_in_its_log(self):
        script = "import stint; stint.main(map=lambda c, r, e: print(r))"
        env = dict(os.environ, STINT_FRAMES="1", PYTHONPATH=os.path.dirname(stint.__file__))
        got = subprocess.run([sys.executable, "-c", script], input=read("worker.frames"), env=env, capture_output=True)
        self.assertEqual(got.returncode, 0, got.stderr)
        self.assertIn(b"a rose is", got.stderr)
        self.assertTrue(got.stdout.startswith(b"\x01"))

    def test_what_a_program_prints_is_said_before_its_operation_ends(self):
        script = "import stint; stint.main(map=lambda c, r, e: print('here', end=''))"
        env = dict(os.environ, STINT_FRAMES="1", PYTHONPATH=os.path.dirname(stint.__file__))
        env.pop("PYTHONUNBUFFERED", None)
        pipe = subprocess.PIPE
        with subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe, stderr=pipe, env=env) as process:
            process.stdin.write(read("worker.frames"))
            process.stdin.flush()
            frames = stint._Reader(process.stdout)
            while frames.next()[0] not in (stint.DONE, None):
                pass
            process.kill()
            self.assertIn(b"here", process.stderr.read())

    def test_elsewhere_it_says_what_it_is(self):
        env = dict(os.environ, PYTHONPATH=os.path.dirname(stint.__file__))
        env.pop("STINT_FRAMES", None)
        got = subprocess.run([sys.executable, "-c", "import stint; stint.main(map=print)"], env=env, capture_output=True, text=True)
        self.assertEqual(got.returncode, 1)
        self.assertIn("is a program for Stint", got.stderr)


if __name__ == "__main__":
    unittest.main()

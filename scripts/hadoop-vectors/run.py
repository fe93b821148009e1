#!/usr/bin/env python3
"""Runs the cases of FILE by Hadoop Streaming and puts what came of them into FILE.

Text stands in FILE with one character for each byte. Usage:
run.py FILE FOLDER, where FOLDER has jars/ and the class Vectors.
"""

import json
import os
import shutil
import subprocess
import sys

KEPT = ["Map input records", "Map output records", "Combine input records", "Combine output records",
        "Reduce input groups", "Reduce input records", "Reduce output records"]
FRAMEWORK = "org.apache.hadoop.mapreduce.TaskCounter"
OTHERS = ("org.apache.hadoop.", "Shuffle Errors", "FileSystem")


def arguments(case, folder):
    """The job's arguments. One map for each file of the input."""
    props = {"mapreduce.framework.name": "local", "fs.defaultFS": "file:///",
             "mapreduce.input.fileinputformat.split.minsize": "1000000000",
             "mapreduce.job.maps": "1", "mapreduce.map.maxattempts": "1",
             "hadoop.tmp.dir": os.path.abspath(os.path.join(folder, "tmp"))}
    props.update(case.get("properties", {}))
    args = []
    for name, value in props.items():
        args += ["-D", name + "=" + value]
    if "reducers" in case:
        args += ["-D", "mapreduce.job.reduces=%d" % case["reducers"]]
    inputs = os.path.abspath(os.path.join(folder, "cases", case["name"], "in"))
    args += ["-input", inputs, "-output", os.path.abspath(os.path.join(folder, "cases", case["name"], "out"))]
    for option in ("mapper", "combiner", "reducer", "partitioner", "inputformat"):
        if option in case:
            args += ["-" + option, case[option]]
    for pair in case.get("cmdenv", []):
        args += ["-cmdenv", pair]
    return args


def prepare(case, folder):
    base = os.path.join(folder, "cases", case["name"])
    os.makedirs(os.path.join(base, "in"))
    for name, text in case["input"].items():
        with open(os.path.join(base, "in", name), "wb") as f:
            f.write(text.encode("latin-1") * case.get("repeat", 1))
    for name, text in case.get("files", {}).items():
        with open(os.path.join(folder, "work", name), "wb") as f:
            f.write(text.encode("latin-1"))
        os.chmod(os.path.join(folder, "work", name), 0o755)


def collect(case, folder):
    out = os.path.join(folder, "cases", case["name"], "out")
    parts = {}
    for name in sorted(os.listdir(out)):
        if name.startswith("part-"):
            with open(os.path.join(out, name), "rb") as f:
                parts[name] = f.read().decode("latin-1")
    return parts


def main(file, folder):
    with open(file, encoding="utf-8") as f:
        cases = json.load(f)
    for name in ("cases", "work", "tmp"):
        shutil.rmtree(os.path.join(folder, name), ignore_errors=True)
        os.makedirs(os.path.join(folder, name))
    with open(os.path.join(folder, "jobs"), "w", encoding="utf-8") as f:
        for case in cases:
            prepare(case, folder)
            f.write("\x1f".join([case["name"]] + arguments(case, folder)) + "\n")
    folder = os.path.abspath(folder)
    with open(os.path.join(folder, "log"), "wb") as log:
        subprocess.run(["java", "--add-opens", "java.base/java.lang=ALL-UNNAMED", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
                        "-cp", folder + "/jars/*:" + folder, "Vectors", folder + "/jobs", folder + "/results"],
                       cwd=os.path.join(folder, "work"), stdout=log, stderr=log, check=True)
    exits, counters = {}, {}
    with open(os.path.join(folder, "results"), encoding="utf-8") as f:
        for line in f:
            kind, name, *rest = line.rstrip("\n").split("\t")
            if kind == "exit":
                exits[name] = int(rest[0])
            elif rest[0] == FRAMEWORK and rest[1] in KEPT or not rest[0].startswith(OTHERS):
                counters.setdefault(name, {})["/".join(rest[:2])] = int(rest[2])
    for case in cases:
        for field in ("parts", "counters", "fails"):
            case.pop(field, None)
        if exits[case["name"]] != 0:
            case["fails"] = True
            continue
        case["parts"] = collect(case, folder)
        case["counters"] = counters[case["name"]]
    with open(file, "w", encoding="utf-8") as f:
        json.dump(cases, f, indent=1, ensure_ascii=True)
        f.write("\n")


if __name__ == "__main__":
    main(*sys.argv[1:])

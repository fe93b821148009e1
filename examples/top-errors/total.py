"""Adds up the numbers of each key. Lines come sorted by key."""
import sys
from itertools import groupby

records = (line.rstrip("\n").split("\t") for line in sys.stdin)
for key, group in groupby(records, key=lambda record: record[0]):
    print(key, sum(int(count) for _, count in group), sep="\t")

"""Writes the mean of the numbers of each key. Lines come sorted by key."""
import sys
from itertools import groupby

records = (line.rstrip("\n").split("\t") for line in sys.stdin)
for key, group in groupby(records, key=lambda record: record[0]):
    rounds = [int(value) for _, value in group]
    print(key, f"{sum(rounds) / len(rounds):.2f}", len(rounds), sep="\t")

"""The first line of each station and year has the hottest reading."""
import sys

last = None
for line in sys.stdin:
    key, _, celsius = line.rstrip("\n").partition("\t")
    station, year, _ = key.split(",")
    if (station, year) != last:
        print(station, year, celsius, sep="\t")
        last = station, year

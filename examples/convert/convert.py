"""Reads one CSV file with a header on stdin and writes a JSON object for each row."""
import csv
import json
import sys

for row in csv.DictReader(sys.stdin):
    print(json.dumps(row))

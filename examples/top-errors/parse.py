"""Writes "service: message" and 1 for every line that is an error."""
import sys

seen = 0
for line in sys.stdin:
    fields = line.rstrip("\n").split(" ", 3)  # time level service message
    if len(fields) == 4 and fields[1] == "ERROR":
        print(f"{fields[2]}: {fields[3]}", 1, sep="\t")
        seen += 1
print(f"reporter:counter:errors,seen,{seen}", file=sys.stderr)

"""Writes station,year,temperature: with three key fields all of it is the key.

The temperature is written so that text sorts as the number does, hottest first."""
import sys

for line in sys.stdin:
    station, date, celsius = line.split()
    print(f"{station},{date[:4]},{1000 - round(float(celsius) * 10):05d},{celsius}")

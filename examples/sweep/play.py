"""Plays one game for every seed and probability; writes the probability and how many rounds there were."""
import os
import random
import sys

chances = os.environ["STINT_PARAM_CHANCES"].split()
start = int(os.environ["STINT_PARAM_START"])
for line in sys.stdin:
    for chance in chances:
        dice = random.Random(f"{line.strip()} {chance}")
        money = start
        rounds = 0
        while money > 0:
            money += 1 if dice.random() < float(chance) else -1
            rounds += 1
        print(chance, rounds, sep="\t")

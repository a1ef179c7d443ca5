"""Fails on purpose after half of its work: what it wrote and its log must still reach the owner, with its true exit code."""

import csv
import json
import os
import sys
from pathlib import Path

outputs = Path(os.environ["OUTPUTS"])
(data_set,) = json.loads(os.environ["DIDS"])

with (Path(os.environ["INPUTS"]) / data_set / "0").open(newline="") as file:
    birds = list(csv.DictReader(file))

with (outputs / "partial.csv").open("w") as file:
    file.write("individual,mass_kg\n")
    for bird in birds:
        if bird["Body Mass (g)"] == "NA":
            print(f"bird {bird['Individual ID']} of {bird['studyName']} has no body mass; giving up", flush=True)
            file.flush()
            sys.exit(3)
        file.write(f"{bird['Individual ID']},{float(bird['Body Mass (g)']) / 1000}\n")

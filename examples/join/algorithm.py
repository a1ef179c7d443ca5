"""Joins two data sets of different owners on their common key, and summarises isotope ratios beside body size, per species."""

import csv
import json
import os
from pathlib import Path
from statistics import correlation, mean

inputs = Path(os.environ["INPUTS"])
outputs = Path(os.environ["OUTPUTS"])


def table(did: str) -> dict[tuple[str, str], dict]:
    with (inputs / did / "0").open(newline="") as file:
        return {(row["studyName"], row["Individual ID"]): row for row in csv.DictReader(file)}


size, isotopes = (table(did) for did in json.loads(os.environ["DIDS"]))  # DIDS keeps the order of the job's inputs
joined = [{**size[key], **isotopes[key]} for key in size if key in isotopes]
print(f"{len(size)} birds with a size, {len(isotopes)} with isotope ratios, {len(joined)} with both", flush=True)

COLUMNS = {"mass_g": "Body Mass (g)", "delta_15_n": "Delta 15 N (o/oo)", "delta_13_c": "Delta 13 C (o/oo)"}
complete = [bird for bird in joined if all(bird[column] != "NA" for column in COLUMNS.values())]

with (outputs / "isotopes_by_species.csv").open("w", newline="") as file:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["species", "birds", *(f"mean_{name}" for name in COLUMNS), "correlation_mass_delta_15_n"])
    for species in sorted({bird["Species"] for bird in complete}):
        birds = [bird for bird in complete if bird["Species"] == species]
        values = {name: [float(bird[column]) for bird in birds] for name, column in COLUMNS.items()}
        means = [round(mean(column), 3) for column in values.values()]
        writer.writerow([species.split()[0], len(birds), *means, round(correlation(values["mass_g"], values["delta_15_n"]), 3)])
print("isotopes_by_species.csv written", flush=True)

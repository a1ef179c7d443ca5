"""Descriptive statistics of every measurement, per species: a CSV, a JSON and a picture."""

import csv
import json
import os
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

MEASUREMENTS = ["Culmen Length (mm)", "Culmen Depth (mm)", "Flipper Length (mm)", "Body Mass (g)"]

inputs = Path(os.environ["INPUTS"])
outputs = Path(os.environ["OUTPUTS"])
(data_set,) = json.loads(os.environ["DIDS"])

with (inputs / data_set / "0").open(newline="") as file:
    birds = list(csv.DictReader(file))
print(f"{len(birds)} birds read", flush=True)


def common_name(bird: dict) -> str:
    return bird["Species"].split()[0]


def measured(name: str, species: str) -> np.ndarray:
    return np.array([float(bird[name]) for bird in birds if bird[name] != "NA" and common_name(bird) == species])


all_species = sorted({common_name(bird) for bird in birds})
rows = []
for species in all_species:
    for name in MEASUREMENTS:
        values = measured(name, species)
        rows.append(
            {
                "species": species,
                "measurement": name,
                "count": len(values),
                "mean": round(float(values.mean()), 2),
                "std": round(float(values.std(ddof=1)), 2),
                "min": float(values.min()),
                "median": round(float(np.median(values)), 2),
                "max": float(values.max()),
            }
        )

with (outputs / "statistics.csv").open("w", newline="") as file:
    writer = csv.DictWriter(file, rows[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
(outputs / "statistics.json").write_text(json.dumps(rows, indent=1) + "\n")

figure, panels = plt.subplots(2, 2, figsize=(9, 7), layout="constrained")
for panel, name in zip(panels.flat, MEASUREMENTS, strict=True):
    panel.boxplot([measured(name, species) for species in all_species])
    panel.set_xticks(range(1, len(all_species) + 1), all_species)
    panel.set_title(name)
figure.suptitle(f"Palmer penguins: {len(birds)} birds")
figure.savefig(outputs / "statistics.png", dpi=100)
print(f"{len(rows)} rows of statistics and a picture written", flush=True)

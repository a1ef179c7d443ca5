"""One DAG for each compute environment; a run of it is a job.

configure (fetch) -> algorithm (the consumer's container, isolated) -> filter (stop leaks) -> publish (results to their store)
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param

from c2d.jobs import model
from c2d.operators.algorithm import AlgorithmOperator
from c2d.operators.configure import ConfigureOperator
from c2d.operators.filter import FilterOperator
from c2d.operators.publish import PublishOperator
from c2d.settings import installation

DOC = """\
**{description}**

A run of this DAG is one compute job; its conf is the job. Limits of the algorithm: {nCPU} CPU, {nGPU} GPU, {ramGB} GiB of memory,
{diskGB} GiB of disk, {maxJobDuration} s. Jobs at once: {maxJobs}.

**Access: `{access_control}`.** {access}

**Results: encryption `{encryption}`.** {results}

Seal URLs, headers and the job's `secret` with `c2d seal`, to the operator's public key:

    {public_key}
"""

# Shown beside the fields of the trigger form, where a person has to write JSON.
EXAMPLES = {
    "inputs": """The data sets to compute on, for example
```json
[{"id": "did:op:birds", "files": [{"url": "https://example.org/birds.csv"}]}]
```
They arrive as `/data/inputs/birds/0`, ... A file also takes `headers`, `method` and `checksum` (sha256).""",
    "algorithm": """What to run on them, for example
```json
{"container": {"image": "library/python", "tag": "3.12", "entrypoint": "python3 $ALGO"},
 "rawcode": "import os; print(os.listdir('/data/inputs'))"}
```
It writes its results to `/data/outputs`. Instead of `rawcode` there may be `files`, as for inputs.""",
}

ACCESS = {
    "open": "Whoever may start runs here may compute on what they can name.",
    "provider": "Jobs come from Ocean Providers, who have checked them; a run that is started here is refused.",
    "datatoken": "Every data set must have been ordered with its datatoken; the order is checked on chain before anything is fetched. "
    "A run that is started here needs its owner's `nonce` and `signature`.",
}

RESULTS = {
    "none": "They are stored as they are.",
    "store": "They are stored encrypted, and decrypted when they are downloaded.",
    "consumer": "They are encrypted to the consumer's key, which the job must name in `output` (`publicKey`); `c2d results` decrypts them.",
}

loaded = installation.load()


def params() -> dict[str, Param]:
    """The job model as the trigger form's fields: without a default where the job needs a value, else empty."""
    schemas = model.params_schema()
    required = {name: schema.pop("required") for name, schema in schemas.items()}
    for name, text in EXAMPLES.items():
        del schemas[name]["description"]  # the form would show it instead
        schemas[name]["description_md"] = text
    return {name: Param(**schema) if required[name] else Param(None, **nullable(schema)) for name, schema in schemas.items()}


def nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema that also takes null, which the form sends for an empty field."""
    if isinstance(schema.get("type"), str):
        return {**schema, "type": [schema["type"], "null"]}
    return schema  # it takes null already


for env in loaded.environments:
    with DAG(
        dag_id=env.id,
        description=env.description or "Compute-to-Data jobs",
        schedule=None,
        catchup=False,
        max_active_runs=env.maxJobs or 16,
        params=params(),
        tags=["c2d", f"access: {env.access_control}"],
        doc_md=DOC.format(
            public_key=loaded.public_key,
            access=ACCESS[env.access_control],
            encryption=env.encryption,
            results=RESULTS[env.encryption],
            **{**env.model_dump(), "description": env.description or "Compute-to-Data"},
        ),
        render_template_as_native_obj=False,
    ) as dag:
        # filter and publish run whatever happened before: logs always reach the owner, and publish ends the job.
        (ConfigureOperator() >> AlgorithmOperator() >> FilterOperator(trigger_rule="all_done") >> PublishOperator(trigger_rule="all_done"))
    globals()[env.id] = dag

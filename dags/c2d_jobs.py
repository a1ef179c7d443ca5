"""One DAG for each compute environment. A DAG run is a compute job with four tasks, each of which runs a pod:

configure (fetches the inputs) -> algorithm (the consumer's isolated container) -> filter (decides what may leave) -> publish (to the store)
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param

from c2d.jobs.params import params_schema
from c2d.operators.algorithm import AlgorithmOperator
from c2d.operators.configure import ConfigureOperator
from c2d.operators.filter import FilterOperator
from c2d.operators.publish import PublishOperator
from c2d.settings import installation

DOC = """\
**{description}**

A run of this DAG is one compute job, described by the run's conf. An algorithm can use {nCPU} CPU, {nGPU} GPU, {ramGB} GiB of memory and
{diskGB} GiB of disk for up to {maxJobDuration} s. Up to {maxJobs} jobs run at the same time.

**Access: `{access_control}`.** {access}

**Results: encryption `{encryption}`.** {results}

URLs, headers and the job's `secret` are encrypted ("sealed") before Airflow stores the run. To seal them yourself, use `c2d seal` with the
operator's public key:

    {public_key}
"""

# Shown beside the fields of the trigger form that need JSON.
EXAMPLES = {
    "inputs": """The data sets to compute on. Example:
```json
[{"id": "did:op:birds", "files": [{"url": "https://example.org/birds.csv"}]}]
```
The algorithm finds this file as `/data/inputs/birds/0`. A file can also have `headers`, `method` and `checksum` (SHA-256).""",
    "algorithm": """The container and the code to run. Example:
```json
{"container": {"image": "library/python", "tag": "3.12", "entrypoint": "python3 $ALGO"},
 "rawcode": "import os; print(os.listdir('/data/inputs'))"}
```
The algorithm writes its results to `/data/outputs`. Instead of `rawcode`, it can have `files`, like an input.""",
}

ACCESS = {
    "open": "Anyone who can start a run can compute on any data that they can name.",
    "provider": "Only Ocean Providers can start jobs, after they have checked the orders. A run that is started in Airflow is rejected.",
    "datatoken": "Every data set must have been ordered with its datatoken. Orders are checked on the chain before anything is fetched. "
    "A run that is started in Airflow needs its owner's `nonce` and `signature`.",
}

RESULTS = {
    "none": "They are stored unencrypted.",
    "store": "They are stored encrypted, and decrypted when they are downloaded through the API.",
    "consumer": "They are encrypted to the consumer's key. The job must name it as `output.publicKey`. `c2d results` decrypts them.",
}

loaded = installation.load()


def params() -> dict[str, Param]:
    """The fields of the job model as DAG params, and so as fields of the trigger form. Optional ones default to null."""
    schemas = params_schema()
    required = {name: schema.pop("required") for name, schema in schemas.items()}
    for name, text in EXAMPLES.items():
        del schemas[name]["description"]  # the form would show it instead of description_md
        schemas[name]["description_md"] = text
    return {name: Param(**schema) if required[name] else Param(None, **nullable(schema)) for name, schema in schemas.items()}


def nullable(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema that also accepts null, which the form sends for an empty field."""
    if isinstance(schema.get("type"), str):
        return {**schema, "type": [schema["type"], "null"]}
    return schema  # accepts null already


for env in loaded.environments:
    with DAG(
        dag_id=env.id,
        description=env.description or "Compute-to-Data jobs",
        schedule=None,
        catchup=False,
        max_active_runs=env.at_once,
        params=params(),
        tags=["c2d", f"access: {env.access_control}"],
        doc_md=DOC.format(
            public_key=loaded.public_key,
            access=ACCESS[env.access_control],
            encryption=env.encryption,
            results=RESULTS[env.encryption],
            **{**env.model_dump(), "maxJobs": env.at_once, "description": env.description or "Compute-to-Data"},
        ),
        render_template_as_native_obj=False,
    ) as dag:
        # filter and publish always run: the owner gets the logs even if the algorithm fails, and publish ends the job.
        (ConfigureOperator() >> AlgorithmOperator() >> FilterOperator(trigger_rule="all_done") >> PublishOperator(trigger_rule="all_done"))
    globals()[env.id] = dag

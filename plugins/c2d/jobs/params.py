"""The job model as the fields of Airflow's trigger form."""

from __future__ import annotations

from typing import Any

from c2d.jobs.model import Job


def params_schema() -> dict[str, dict[str, Any]]:
    """A self-contained JSON schema for each field of :class:`Job`, as Airflow's ``Param`` takes it, with a boolean ``required``."""
    schema = Job.model_json_schema()
    definitions = schema.pop("$defs", {})
    return {
        name: {**_self_contained(field, definitions), "required": name in schema["required"]}
        for name, field in schema["properties"].items()
    }


def _self_contained(node: Any, definitions: dict[str, Any]) -> Any:
    """The schema with each ``$ref`` replaced by its definition, in the form that the trigger form can show."""
    if isinstance(node, list):
        return [_self_contained(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        definition = definitions[node["$ref"].rsplit("/", 1)[1]]
        return _self_contained({**definition, **{k: v for k, v in node.items() if k != "$ref"}}, definitions)
    node = {k: _self_contained(v, definitions) for k, v in node.items() if k not in ("title", "discriminator", "default")}
    options = node.get("anyOf", [])
    if len(options) == 2 and {"type": "null"} in options and isinstance(options[0].get("type"), str):
        # The form chooses the control by `type` and cannot show "anyOf null".
        del node["anyOf"]
        return {**options[0], **node, "type": [options[0]["type"], "null"]}
    return node

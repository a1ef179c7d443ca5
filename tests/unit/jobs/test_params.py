"""The trigger form's schema."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest

from c2d.jobs.model import Job
from c2d.jobs.params import params_schema
from tests.unit.examples import job
from tests.unit.jobs.test_model import INVALID, PUBLIC


def test_the_schema_accepts_what_the_model_accepts_and_names_the_required_fields() -> None:
    schema = params_schema()
    conf = job()
    for name, field in schema.items():
        required = field.pop("required")
        assert required == (name in ("algorithm", "owner"))
        if name in conf:
            jsonschema.validate(conf[name], field)
            jsonschema.validate(Job.parse(conf, "x").sealed(PUBLIC, None).dump()[name], field)
    assert "$ref" not in json.dumps(schema)


@pytest.mark.parametrize(
    "changes",
    [c for c, s in INVALID.values() if "algorithm.container" in next(iter(c), "") and "must have" not in s],
    ids=lambda c: next(iter(c)),
)
def test_the_schema_rejects_an_invalid_container_by_itself(changes: dict[str, Any]) -> None:
    field = params_schema()["algorithm"]
    field.pop("required")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(job(**changes)["algorithm"], field)

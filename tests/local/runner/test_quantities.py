"""Kubernetes quantities."""

from __future__ import annotations

import math

import pytest
from kubernetes.utils.quantity import parse_quantity

from local.runner.quantities import limit_of, quantity


def test_quantities_are_bytes_rounded_up() -> None:
    assert [quantity(text) for text in ("64Mi", "1.5k", "100m", "1e3", 7, "0.5Gi")] == [64 << 20, 1500, 1, 1000, 7, 1 << 29]
    with pytest.raises(ValueError, match="quantities must match"):
        quantity("10 MB")


@pytest.mark.parametrize("text", ["0", "1", "64Mi", "1.5k", "100m", "1e3", "1E3", "0.5Gi", "2Ti", "3E", "1.5Pi", "5G", "7T", "9P", ".5M"])
def test_quantities_are_those_of_the_kubernetes_client(text: str) -> None:
    assert quantity(text) == math.ceil(parse_quantity(text))


@pytest.mark.parametrize("text", ["", "NaN", "-1", "1K", "1ki", "Infinity", "1 Gi", "Gi", "1e", "0x10", "1Mi\n"])
def test_what_is_not_a_quantity_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="quantities must match"):
        quantity(text)


def test_a_container_without_limits_has_none() -> None:
    assert limit_of({"resources": {"limits": {"memory": "64Mi"}}}, "memory") == 64 << 20
    assert limit_of({"resources": {}}, "memory") is limit_of({}, "memory") is None

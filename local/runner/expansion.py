"""Environment variables and $(VAR) references, exactly as the kubelet makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Lookup = Callable[[str, str], Mapping[str, str] | None]
"""(kind "secrets" or "configmaps", name) -> decoded data, or None where there is no such object."""


class ConfigMissing(Exception):
    """A Secret, ConfigMap or key that a container refers to does not exist (yet)."""


def expand(text: str, values: Mapping[str, str]) -> str:
    """`$(NAME)` -> its value, or unchanged where NAME is unknown; `$$` -> `$`; any other `$` stays.

    Port of k8s.io/kubernetes/third_party/forked/golang/expansion: there is no nesting and no recursion.
    """
    out: list[str] = []
    at = 0
    while at < len(text):
        if text[at] != "$" or at + 1 == len(text):
            out.append(text[at])
            at += 1
        elif text[at + 1] == "$":
            out.append("$")
            at += 2
        elif text[at + 1] == "(" and (end := text.find(")", at + 2)) != -1:
            name = text[at + 2 : end]
            out.append(values.get(name, f"$({name})"))
            at = end + 1
        else:
            out.append(text[at : at + 2])
            at += 2
    return "".join(out)


def container_env(container: dict[str, Any], pod: dict[str, Any], lookup: Lookup) -> dict[str, str]:
    """The variables that the pod's author gives a container. `env` wins over `envFrom`.

    A value may refer only to `env` entries above it, not to `envFrom` (as in the kubelet's makeEnvironmentVariables).
    Raises ConfigMissing for what is absent and not optional.
    """
    result: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        for field, kind, label in (("secretRef", "secrets", "secret"), ("configMapRef", "configmaps", "configmap")):
            if ref := source.get(field):
                data = lookup(kind, ref["name"])
                if data is None and not ref.get("optional"):
                    raise ConfigMissing(f'{label} "{ref["name"]}" not found')
                result.update({f"{source.get('prefix') or ''}{key}": value for key, value in (data or {}).items()})
    declared: dict[str, str] = {}
    for entry in container.get("env") or []:
        if source := entry.get("valueFrom"):
            value = _value_from(source, container, pod, lookup)
            if value is None:
                continue
        else:
            value = expand(entry.get("value") or "", declared)
        declared[entry["name"]] = value
    return result | declared


def _value_from(source: dict[str, Any], container: dict[str, Any], pod: dict[str, Any], lookup: Lookup) -> str | None:
    for field, kind, label in (("secretKeyRef", "secrets", "secret"), ("configMapKeyRef", "configmaps", "configmap")):
        if ref := source.get(field):
            data = lookup(kind, ref["name"])
            if data is not None and ref["key"] in data:
                return data[ref["key"]]
            if ref.get("optional"):
                return None
            if data is None:
                raise ConfigMissing(f'{label} "{ref["name"]}" not found')
            raise ConfigMissing(f"couldn't find key {ref['key']} in {label} {pod['metadata']['namespace']}/{ref['name']}")
    if ref := source.get("fieldRef"):
        return pod_field(pod, ref["fieldPath"])
    if ref := source.get("resourceFieldRef"):
        kind, _, name = ref["resource"].partition(".")
        return str(((container.get("resources") or {}).get(kind) or {}).get(name, "0"))
    raise ConfigMissing("valueFrom must have secretKeyRef, configMapKeyRef, fieldRef or resourceFieldRef")


def pod_field(pod: dict[str, Any], path: str) -> str:
    """A downward-API field, such as metadata.name or metadata.labels['x']."""
    for group in ("labels", "annotations"):
        prefix = f"metadata.{group}['"
        if path.startswith(prefix) and path.endswith("']"):
            return (pod["metadata"].get(group) or {}).get(path[len(prefix) : -2], "")
    plain = {
        "metadata.name": pod["metadata"].get("name"),
        "metadata.namespace": pod["metadata"].get("namespace"),
        "metadata.uid": pod["metadata"].get("uid"),
        "spec.nodeName": "laptop",
        "spec.serviceAccountName": pod["spec"].get("serviceAccountName", "default"),
        "status.podIP": "127.0.0.1",
        "status.hostIP": "127.0.0.1",
    }
    if path not in plain:
        raise ConfigMissing(f"unsupported fieldPath: {path}")
    return str(plain[path] or "")

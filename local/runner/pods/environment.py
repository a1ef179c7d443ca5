"""A container's environment variables and $(NAME) references, exactly as the kubelet makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from local.runner.pods.events import NODE

Lookup = Callable[[str, str], Mapping[str, str] | None]
"""(plural, name) of a Secret or ConfigMap -> its decoded data, or None if it does not exist."""
_ENV_FROM = (("secretRef", "secrets", "secret"), ("configMapRef", "configmaps", "configmap"))
_KEY_REFS = (("secretKeyRef", "secrets", "secret"), ("configMapKeyRef", "configmaps", "configmap"))


class ConfigMissing(Exception):
    """A Secret, ConfigMap or key that a container refers to does not exist (yet)."""


def expand(text: str, values: Mapping[str, str]) -> str:
    """Replace each `$(NAME)` by its value, unless NAME is unknown, and each `$$` by `$`. Any other `$` stays.

    A port of k8s.io/kubernetes/third_party/forked/golang/expansion: nothing nests, and values are not expanded again.
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
    """The variables that the pod gives a container; `env` wins over `envFrom`.

    A value can refer to entries of `env` before it, and not to `envFrom` (as in the kubelet's makeEnvironmentVariables).
    Raises ConfigMissing for a reference that leads nowhere and is not optional.
    """
    imported: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        prefix = source.get("prefix") or ""
        imported |= {f"{prefix}{key}": value for key, value in _imported(source, lookup).items()}
    declared: dict[str, str] = {}
    for entry in container.get("env") or []:
        if source := entry.get("valueFrom"):
            value = _referenced(source, pod, lookup)
            if value is None:
                continue
        else:
            value = expand(entry.get("value") or "", declared)
        declared[entry["name"]] = value
    return imported | declared


def _imported(source: dict[str, Any], lookup: Lookup) -> Mapping[str, str]:
    for field, plural, label in _ENV_FROM:
        if ref := source.get(field):
            data = lookup(plural, ref["name"])
            if data is None and not ref.get("optional"):
                raise ConfigMissing(f'{label} "{ref["name"]}" not found')
            return data or {}
    return {}


def _referenced(source: dict[str, Any], pod: dict[str, Any], lookup: Lookup) -> str | None:
    """The value of a valueFrom; None for an optional one that leads nowhere."""
    for field, plural, label in _KEY_REFS:
        if ref := source.get(field):
            data = lookup(plural, ref["name"])
            if data is not None and ref["key"] in data:
                return data[ref["key"]]
            if ref.get("optional"):
                return None
            if data is None:
                raise ConfigMissing(f'{label} "{ref["name"]}" not found')
            raise ConfigMissing(f"couldn't find key {ref['key']} in {label} {pod['metadata']['namespace']}/{ref['name']}")
    if ref := source.get("fieldRef"):
        return _pod_field(pod, ref["fieldPath"])
    raise ConfigMissing("the laptop runner supports valueFrom with secretKeyRef, configMapKeyRef or fieldRef")


def _pod_field(pod: dict[str, Any], path: str) -> str:
    """A field of the downward API, such as metadata.name or metadata.labels['x']."""
    metadata = pod["metadata"]
    for group in ("labels", "annotations"):
        prefix = f"metadata.{group}['"
        if path.startswith(prefix) and path.endswith("']"):
            return str((metadata.get(group) or {}).get(path[len(prefix) : -2], ""))
    fields = {f"metadata.{name}": str(metadata.get(name)) for name in ("name", "namespace", "uid")}
    fields |= {"spec.nodeName": NODE, "status.podIP": "127.0.0.1", "status.hostIP": "127.0.0.1"}
    fields["spec.serviceAccountName"] = pod["spec"].get("serviceAccountName") or "default"
    if path not in fields:
        raise ConfigMissing(f"unsupported fieldPath: {path}")
    return fields[path]

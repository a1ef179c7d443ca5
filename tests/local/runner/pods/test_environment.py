"""Environment variables and $(NAME) references."""

from __future__ import annotations

import pytest

from local.runner.pods.environment import ConfigMissing, container_env, expand
from tests.local.runner.client import Cluster


@pytest.mark.parametrize(
    "text, expected",
    [
        # from k8s.io/kubernetes/third_party/forked/golang/expansion/expand_test.go
        ("$(VAR_A)", "A"),
        ("___$(VAR_B)___", "___B___"),
        ("$(VAR_A)$(VAR_A)", "AA"),
        ("$$(VAR_B)_$(VAR_A)", "$(VAR_B)_A"),
        ("$$$(VAR_A)", "$A"),
        ("$$$$(VAR_A)", "$$(VAR_A)"),
        ("$(VAR_DNE)", "$(VAR_DNE)"),
        ("$(VAR_A", "$(VAR_A"),
        ("$VAR_A)", "$VAR_A)"),
        ("foo$", "foo$"),
        ("$$", "$"),
        ("$(VAR_A)$", "A$"),
        ("$((VAR_A)", "$((VAR_A)"),
        ("ü$(VAR_A)$ü", "üA$ü"),
        ("", ""),
    ],
)
def test_references_are_expanded(text: str, expected: str) -> None:
    assert expand(text, {"VAR_A": "A", "VAR_B": "B"}) == expected


def test_values_can_only_refer_to_earlier_entries() -> None:
    container = {
        "envFrom": [{"secretRef": {"name": "all"}, "prefix": "P_"}, {"configMapRef": {"name": "none", "optional": True}}],
        "env": [{"name": "A", "value": "$(B) $(P_x)"}, {"name": "B", "value": "$(A)"}],
    }
    pod = {"metadata": {"name": "p", "namespace": "n"}, "spec": {}}
    env = container_env(container, pod, lambda _kind, name: {"x": "1"} if name == "all" else None)
    assert env == {"P_x": "1", "A": "$(B) $(P_x)", "B": "$(B) $(P_x)"}
    with pytest.raises(ConfigMissing, match='secret "all" not found'):
        container_env(container, pod, lambda *_: None)


def test_variables_are_expanded_as_kubernetes_does(cluster: Cluster) -> None:
    cluster.secret("keys", token="s3cret")
    cluster.config_map("settings", COLOUR="blue")
    env = [
        {"name": "A", "value": "a"},
        {"name": "B", "value": "$(A)-$$(A)-$(NOPE)"},
        {"name": "T", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "token"}}},
        {"name": "ME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
    ]
    container = {"env": env, "envFrom": [{"configMapRef": {"name": "settings"}}], "args": ["$(B) $(T) $(COLOUR) $$(A) $(ME)"]}
    pod = cluster.run("sh", "-c", 'echo "$1" $FLAVOUR', "sh", container=container | {"command": ["echo"]})
    assert cluster.log(pod) == f"a-$(A)-$(NOPE) s3cret blue $(A) {pod.metadata.name}\n"

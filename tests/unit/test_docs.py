"""The documentation agrees with the code: the settings reference, the links between pages, and the diagrams."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic.fields import FieldInfo

from c2d.settings.environment import Environment
from c2d.settings.installation import Settings
from c2d.settings.provider import ProviderSettings

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(
            page
            for folder in ("docs", "examples", "helm_values", "local", "plugins", "pod_images")
            for page in (ROOT / folder).rglob("*.md")
        ),
    ]
)
# Fields that are not variables of their own: the id is C2D_ENVIRONMENT, and the other two hold settings themselves.
NOT_VARIABLES = {"id", "environments", "provider"}
# Variables that are read without being fields.
OTHER_VARIABLES = {
    *("C2D_ENVIRONMENT", "C2D_ENVIRONMENTS"),
    *("POSTGRES_HOST", "POSTGRES_PORT", "POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD"),
}


def variables() -> dict[str, FieldInfo]:
    fields = {**Environment.model_fields, **Settings.model_fields, **ProviderSettings.model_fields}
    return {name: field for name, field in fields.items() if name not in NOT_VARIABLES}


def documented() -> dict[str, list[str]]:
    """The cells of the row (default, unit, meaning) for each setting in the reference, without the laptop stack's variables."""
    page = (ROOT / "docs" / "reference" / "settings.md").read_text().split("## The laptop stack")[0]
    rows: dict[str, list[str]] = {}
    for line in page.splitlines():
        if line.startswith("| `"):
            names, *cells = (cell.strip() for cell in line.strip("|").split("|"))
            for name in re.findall(r"`(\w+)`", names):
                assert name not in rows, f"{name} is described twice"
                rows[name] = cells
    return rows


def shown(field: FieldInfo) -> str:
    """A default as the reference writes it."""
    if field.is_required():
        return "required"
    default: Any = field.get_default(call_default_factory=True)
    if isinstance(default, bool):
        return str(int(default))
    return str(default) if default or isinstance(default, int | float | Decimal) else "-"


def test_the_reference_lists_every_setting_and_no_other() -> None:
    assert set(documented()) == {*variables(), *OTHER_VARIABLES}


@pytest.mark.parametrize("name", sorted(variables()))
def test_the_reference_gives_the_default_and_the_meaning_of_each_setting(name: str) -> None:
    default, _unit, meaning = documented()[name]
    assert default == shown(variables()[name])
    assert meaning


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    links = [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r'src="([^"]+)"', text)]
    for link in links:
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: there is no such file"
        if anchor:
            assert anchor in anchors(target), f"{link}: the page has no such heading"


def test_the_contributor_guide_has_its_three_diagrams() -> None:
    guide = (ROOT / "docs" / "contributor.md").read_text()
    diagrams = re.findall(r"```mermaid\n(.*?)```", guide, flags=re.DOTALL)
    assert [diagram.split()[0] for diagram in diagrams] == ["block-beta", "sequenceDiagram", "stateDiagram-v2"]


def test_no_diagram_is_empty() -> None:
    diagrams = [diagram for page in PAGES for diagram in re.findall(r"```mermaid\n(.*?)```", page.read_text(), flags=re.DOTALL)]
    assert diagrams
    assert all(len(diagram.strip().splitlines()) > 1 for diagram in diagrams)


def test_the_layers_in_the_contributor_guide_are_those_that_import_linter_enforces() -> None:
    import tomllib

    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract.get("containers") == ["c2d"])
    enforced = [{package.strip("() ") for package in layer.split("|")} for layer in layers]
    guide = (ROOT / "docs" / "contributor.md").read_text()
    diagram = guide.split("columns 2\n")[1].split("```")[0]
    drawn = [set(re.findall(r'(\w+)\["', row)) for row in diagram.strip().splitlines()]
    assert drawn == enforced

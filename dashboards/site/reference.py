"""Writes the reference of the components, which dashboards/README.md contains.

`python -m dashboards.site.reference` brings the README up to date with the definitions.
"""

from pathlib import Path

from .components import COMPONENTS, Attribute, Definition, Type

README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- components -->\n", "<!-- /components -->\n"


def reference() -> str:
    """Return two tables in markdown: the components, and their attributes."""
    lines = ["| tag | what it does | attributes |", "| --- | --- | --- |"]
    lines += [_component_row(definition) for definition in COMPONENTS.values()]
    lines += ["", "| attribute | in | type | what it is |", "| --- | --- | --- | --- |"]
    owners: dict[Attribute, list[Definition]] = {}
    for definition in COMPONENTS.values():
        for attribute in definition.attributes:
            owners.setdefault(attribute, []).append(definition)
    lines += [_attribute_row(*each) for each in owners.items()]
    return "\n".join(lines) + "\n"


def write(path: Path = README) -> None:
    """Put the reference between the two marks in the README."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    path.write_text(f"{before}{BEGIN}{reference()}{END}{after}", encoding="utf-8")


def _component_row(definition: Definition) -> str:
    holds = definition.holds_prose or definition.part
    tag = f"`<{definition.tag}>`" if holds else f"`<{definition.tag}/>`"
    names = [f"**`{a.name}`**" if a.required else f"`{a.name}`" for a in definition.attributes]
    about = definition.about
    if definition.part:
        about += f" It may contain `<{definition.part}>`."
    return f"| {tag} | {about} | {' '.join(names)} |"


def _attribute_row(attribute: Attribute, owners: list[Definition]) -> str:
    charts = [each for each in COMPONENTS.values() if each.template == "Chart"]
    names = [f"`<{each.tag}>`" for each in owners]
    if all(chart in owners for chart in charts):
        names = ["every chart", *(f"`<{each.tag}>`" for each in owners if each not in charts)]
    kind = ", ".join(f"`{value}`" for value in attribute.allowed) or attribute.type.value
    about = attribute.about
    if attribute.default is not None and attribute.type is not Type.FLAG:
        about += f" The default is `{attribute.default}`."
    return f"| `{attribute.name}` | {', '.join(names)} | {kind} | {about} |"


if __name__ == "__main__":
    write()

"""What mkdocs adds to the pages: the start page, files beside ``docs/``, the reference, the notebooks.

Pages are written for a reader of the repository: links are relative, and may lead out of ``docs/``. Here every such
link gets a target in the site.
"""

import posixpath
import re
import sys
from pathlib import Path
from urllib.parse import unquote

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)(?=[)#])")
# Where a page of the site comes from, where that is not docs/ of the repository under the same name.
SOURCES = {"index.md": "README.md", "changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
CODE = (
    *("treepo.tree", "treepo.advantage", "treepo.packing", "treepo.packing.attention", "treepo.rollout"),
    *("treepo.environment", "treepo.rewards.math", "treepo.rewards.judge", "treepo.evaluation", "treepo.viewer"),
    "treepo.config",
)
"""The reference: a page for each of these modules, with what its ``__all__`` names."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Lists the pages of the reference where the navigation has a place for them."""
    for section in config.nav or []:
        for entry in section.get("Reference", []):
            if isinstance(entry, dict) and "Code" in entry:
                entry["Code"] = [{module: f"reference/{module}.md"} for module in CODE]
    return config


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Adds the pages and files that are not in ``docs/``."""
    for name, source in SOURCES.items():
        files.append(File.generated(config, name, content=_read(source)))
    files.append(File.generated(config, "reference/options.md", content=_options()))
    for module in CODE:
        files.append(File.generated(config, f"reference/{module}.md", content=f"# {module}\n\n::: {module}\n"))
    files.append(File.generated(config, "site.css", content=(Path(__file__).parent / "site.css").read_text("utf-8")))
    for notebook in sorted((ROOT / "docs/notebooks").glob("*.ipynb")):
        for name, content in _notebook(notebook):
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    todo = [page.src_uri for page in files.documentation_pages()]
    while todo:
        page = todo.pop()
        source = _source(page)
        text = _read(source) if (ROOT / source).is_file() else ""
        for link in LINK.findall(text):
            target = _resolve(source, link)
            name = _name(target)
            if name in SOURCES or files.get_file_from_path(name) or not (ROOT / target).exists():
                continue
            file = _beside(config, target, name)
            file.inclusion = InclusionLevel.NOT_IN_NAV
            files.append(file)
            if name.endswith(".md"):
                todo.append(name)
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Points the links of the repository to their places in the site."""
    here = page.file.src_uri
    if here.startswith("reference/"):
        return markdown
    source = _source(here)

    def place(link: re.Match[str]) -> str:
        return posixpath.relpath(_name(_resolve(source, link[1])), posixpath.dirname(here) or ".")

    return LINK.sub(place, markdown)


def _read(source: str) -> str:
    return (ROOT / source).read_text(encoding="utf-8")


def _source(name: str) -> str:
    """Where a page of the site comes from, relative to the repository."""
    if name.startswith("files/"):
        return name.removeprefix("files/")
    return SOURCES.get(name, f"docs/{name}")


def _resolve(source: str, link: str) -> str:
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), unquote(link)))


def _name(target: str) -> str:
    """The place in the site of a file or folder of the repository."""
    for name, source in SOURCES.items():
        if target == source:
            return name
    if target.endswith(".ipynb"):
        target = f"{target.removesuffix('.ipynb')}.md"
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    if (ROOT / target).is_dir():
        return f"files/{target}/index.md"
    return f"files/{target}" if target.endswith((".md", ".png")) else f"files/{target}.txt"


def _beside(config: MkDocsConfig, target: str, name: str) -> File:
    """A file or a folder's list, from beside ``docs/``."""
    path = ROOT / target
    if path.is_dir():
        listed = "\n".join(f"- `{file.name}`" for file in sorted(path.iterdir()) if file.name != "__pycache__")
        readme = path / "README.md"
        text = readme.read_text(encoding="utf-8") if readme.is_file() else f"# {target}\n"
        return File.generated(config, name, content=f"{text}\n\nFiles of `{target}`:\n\n{listed}\n")
    return File.generated(config, name, content=path.read_bytes())


def _options() -> str:
    """Every option in one table, from the types."""
    support = str(ROOT / "tests/support")
    sys.path.append(support)
    try:
        from config_docs import option_rows
    finally:
        sys.path.remove(support)
    lines = [
        *("---", "hide: [toc]", "---", "# All options", ""),
        "Of trainings (`treepo.*`) and evaluations (`evaluation.*`). What the values of policies do:",
        "[growing trees](../configuration.md), [training on them](../configuration_training.md),",
        "[evaluations](../evaluation_options.md).",
        *("", "| option | type | default | meaning |", "| --- | --- | --- | --- |"),
        *option_rows(),
    ]
    return "\n".join(lines) + "\n"


def _notebook(path: Path) -> list[tuple[str, str | bytes]]:
    """A notebook with the outputs that it is stored with, as a page and its pictures."""
    from nbconvert import MarkdownExporter

    text, resources = MarkdownExporter().from_filename(str(path))
    pictures = {f"{path.stem}_files/{name}": data for name, data in resources["outputs"].items()}
    for name in resources["outputs"]:
        text = text.replace(f"]({name})", f"]({path.stem}_files/{name})")
    return [(f"{path.stem}.md", text), *pictures.items()]

"""``treepo export``: an evaluation's samples as logs of Inspect."""

import typer

from treepo.evaluation.__main__ import export

app = typer.Typer(add_completion=False, rich_markup_mode=None)
app.command()(export)

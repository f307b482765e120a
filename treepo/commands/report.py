"""``treepo report``: the report of an evaluation, written again."""

import typer

from treepo.evaluation.__main__ import report

app = typer.Typer(add_completion=False, rich_markup_mode=None)
app.command()(report)

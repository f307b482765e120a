"""``treepo compare``: two evaluations against each other."""

import typer

from treepo.evaluation.__main__ import compare

app = typer.Typer(add_completion=False, rich_markup_mode=None)
app.command()(compare)

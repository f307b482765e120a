"""Tables of the reports on a console."""

from rich.console import Console
from rich.table import Table as RichTable

from treepo.evaluation.show.tables import Table


def show_table(console: Console, table: Table) -> None:
    """Prints a table with its title and note."""
    shown = RichTable(title=table.title, caption=table.note, title_justify="left", caption_justify="left")
    for head in table.columns:
        shown.add_column(head)
    for row in table.rows:
        shown.add_row(*row)
    console.print(shown)

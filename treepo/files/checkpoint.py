"""verl's note of the last checkpoint in a folder of checkpoints."""

from pathlib import Path

NOTE = "latest_checkpointed_iteration.txt"


def noted_step(checkpoints: Path) -> int | None:
    """The step that the note names; None without a note, or where it names none."""
    note = checkpoints / NOTE
    text = note.read_text().strip() if note.is_file() else ""
    return int(text) if text.isdecimal() else None

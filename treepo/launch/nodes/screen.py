"""What of a job's output the terminal shows: steps, and what this project and the job's own process say.

A job is some dozens of processes, and each repeats the warnings and notes of every library it imports. The log keeps
all of it.
"""

import re

_COLOURS = rb"(?:\x1b\[[\d;]*m)*"
# How Ray marks the output of another process than the driver's.
_ACTOR = re.compile(_COLOURS + rb"\((?P<name>[\w.]+)?(?: ?pid=\d+)?(?:, ip=[\w.:]+)?\)" + _COLOURS + rb" ?")
_OURS = re.compile(rb"(?:warning|error): |\[treepo\]|.*\b(?:WARNING|ERROR)\b.*\btreepo\b[^/]")
_STEPS = re.compile(rb"step:\d+ - |Training Progress")
_NODES = b"raylet"
# A library's warning, which comes with the line of code that it is about; and the lines of usual loggers.
_WARNING = re.compile(rb".*\.py:\d+: \w*Warning: ")
_CODE = re.compile(rb"  \S")
_NOTES = re.compile(
    _COLOURS + rb"(?:(?:DEBUG|INFO|WARNING)[: ]|\d{4}-\d\d-\d\d[ T][\d:.,]+\s.*\b(?:DEBUG|INFO|WARNING)\b"
    rb"|\[\d{4}-\d\d-\d\d [\d:.,]+ [DIW] )"
)
_ERROR = re.compile(rb"(?:[\w.]+\.)?\w*(?:Error|Exception)\b: ")


class Screen:
    """Chooses lines.

    Attributes:
        first_error: The first error that was not shown, as a line; empty without one. The cause of a failure is often
            in another process than the one that ends the job.
    """

    def __init__(self) -> None:
        self.first_error = ""
        self._rest = b""
        self._after_warning = False

    def choose(self, data: bytes) -> bytes:
        """The lines to show among those that more output completes; a carriage return ends a line, too."""
        *lines, self._rest = re.split(rb"(?<=[\r\n])", self._rest + data)
        return b"".join(line for line in lines if self._shows(line))

    def rest(self) -> bytes:
        """What has no end of a line, at the end of the output."""
        line, self._rest = self._rest, b""
        return line if self._shows(line) else b""

    def _shows(self, line: bytes) -> bool:
        actor = _ACTOR.match(line)
        text = line[actor.end() :] if actor else line
        shown = bool(_OURS.match(text)) or self._of_interest(actor["name"] if actor else None, bool(actor), text)
        if not shown and not self.first_error and _ERROR.match(text):
            self.first_error = line.decode(errors="replace").strip()
        return shown

    def _of_interest(self, actor: bytes | None, remote: bool, text: bytes) -> bool:
        if remote:
            return actor == _NODES or bool(_STEPS.match(text))
        code, self._after_warning = self._after_warning and bool(_CODE.match(text)), bool(_WARNING.match(text))
        return not (code or self._after_warning or _NOTES.match(text))

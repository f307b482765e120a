"""How a launch ends other than by the job's own status."""


class LaunchError(RuntimeError):
    """The cluster cannot train; one line that says which node and why. The exit status is 1."""


class Interrupted(Exception):
    """A signal ended the launch."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number

"""What can go wrong with a dataset, each in one line that says what to do."""


class DataError(ValueError):
    """A set that cannot be prepared; the message is one line and names the set."""


class OfflineError(DataError):
    """The hub cannot be reached, so that no further set needs to be tried."""

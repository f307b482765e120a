"""What is looked at before a process starts: refusals, warnings, resumption, the memory that is expected."""

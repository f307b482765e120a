"""The quickstart's own parts: a task, a tiny tokenizer and model, its warm start, and the report of a run."""

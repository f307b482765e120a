"""Starts a training on one node or on many: what the scheduler says, Ray's nodes, the job, its end on every node."""

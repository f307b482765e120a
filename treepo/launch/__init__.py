"""Starts a training or an evaluation on one node or on many: scheduler, Ray's nodes, the job, its end everywhere."""

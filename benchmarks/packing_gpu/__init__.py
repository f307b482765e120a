"""Packing on one GPU with torch and transformers alone."""

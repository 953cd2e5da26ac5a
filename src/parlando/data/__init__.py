"""Corpora to batches: readers, the prepared store, and batch sources."""

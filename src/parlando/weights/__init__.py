"""Released weights: a folder each, read through the registry."""

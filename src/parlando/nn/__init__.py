"""Layers that know no paper and no configuration."""

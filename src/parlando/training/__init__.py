"""Teaches any objective; knows no codec and no system."""

"""Measurements of the released weights, one command each."""

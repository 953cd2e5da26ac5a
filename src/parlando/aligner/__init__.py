"""Phones from frames: a forced aligner and a phone recogniser."""

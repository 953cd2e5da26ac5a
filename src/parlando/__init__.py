"""Parlando speaks in a voice it has heard for three seconds."""

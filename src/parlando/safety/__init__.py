"""Marks that tell generated sound from recordings."""

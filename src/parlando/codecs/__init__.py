"""Waveform to tokens or latents, and back."""

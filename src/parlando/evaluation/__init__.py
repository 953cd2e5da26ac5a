"""Judges of speech and codecs; they see waveforms, texts and callables, never a system."""

"""Text-to-speech systems, one folder per paper."""

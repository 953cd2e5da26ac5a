"""Sound as physics: waveforms, spectra, pitch; nothing learned."""

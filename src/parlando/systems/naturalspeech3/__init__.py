"""NaturalSpeech 3: factorized discrete diffusion over the codes of FACodec."""

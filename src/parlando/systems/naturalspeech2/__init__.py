"""NaturalSpeech 2: latent diffusion over a codec, prompted by a voice."""

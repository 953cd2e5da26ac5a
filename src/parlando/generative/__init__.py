"""Probability: diffusion, guidance, alignment; the network is an argument."""

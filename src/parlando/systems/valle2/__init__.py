"""VALL-E 2 and VALL-E: language models over the codes of a codec, prompted by a voice."""

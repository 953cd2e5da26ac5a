"""The factorized codec of NaturalSpeech 3: prosody, content, detail, and a timbre vector."""

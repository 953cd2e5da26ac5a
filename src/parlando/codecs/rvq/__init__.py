"""The residual-vector-quantized codec of NaturalSpeech 2."""

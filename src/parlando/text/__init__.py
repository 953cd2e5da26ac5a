"""Writing to symbols: spoken form, long texts in pieces, phones, their ids."""

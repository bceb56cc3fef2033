"""The one bridge between messages and tokens, and the packing of token sequences into a prefix tree."""

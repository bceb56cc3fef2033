"""Sources, loading, adapters, the trie forward, checkpoints."""

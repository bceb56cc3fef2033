"""Loading, the forward over a trie, memory."""

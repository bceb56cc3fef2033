"""One file per method, one shared loop for what must not drift between them."""

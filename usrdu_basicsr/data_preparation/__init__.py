"""Dataset checks, LMDB creation and sub-image extraction."""

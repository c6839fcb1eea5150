"""The windows of versions that account for what was measured, and advice from them."""

"""Two cells side by side: both alive at once, calls interleaved between them, and what that says."""

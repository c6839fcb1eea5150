"""What is checked: one file for each case; what is expected and claimed, and known causes, are data beside them."""

"""What is checked: one file for each case, claims and expectations beside the code."""

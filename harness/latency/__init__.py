"""Statistics of latency: ratios, history, comparison, calibration."""

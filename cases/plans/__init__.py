"""Plans of configurations that cases read: made once by docs/configurations_plan.py, and committed."""

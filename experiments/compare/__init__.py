"""Fair comparisons: equal budgets, several seeds, intervals, and one report."""

"""Comparisons of speed, each a module; they measure ratios within one run and assert nothing."""

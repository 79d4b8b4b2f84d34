"""Benchmarks: figures for the README, as ratios and tables; never part of the tests."""

"""Doubles and suites that users' own tests need."""

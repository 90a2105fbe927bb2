"""Forkyard's domain: forks, runs, changesets, merges. Imports with no Celery installed."""

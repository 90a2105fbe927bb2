"""Celery only: no SQL, no HTTP, no rules."""

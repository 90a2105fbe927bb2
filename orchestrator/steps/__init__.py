"""The pipeline: one idempotent, fenced step per file."""

"""A changeset's way into the target: conflicts, replay, the marker."""

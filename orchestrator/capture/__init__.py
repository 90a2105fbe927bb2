"""What a run changed: fingerprints, schema differences, row differences, metrics, the changeset."""

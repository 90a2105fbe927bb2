"""The SQL changes that agents write: read, split, applied, repaired, recorded."""

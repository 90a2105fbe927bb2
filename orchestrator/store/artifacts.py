"""Content-hashed blobs in the registry database, in compressed chunks, so that workers need no shared folder."""

from __future__ import annotations

import hashlib
import zlib

from orchestrator.errors import NotFound
from orchestrator.store.connection import Table

_CHUNK_BYTES = 1_000_000


class Artifacts(Table):
    file = "artifacts"

    def put(self, kind: str, body: bytes) -> str:
        """Store the bytes once and return their hash, `sha256:…`. Idempotent."""
        digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
        with self._database.transaction() as connection:
            if self._row(connection, "insert", {"hash": digest, "kind": kind, "size": len(body)}):
                for position, start in enumerate(range(0, max(len(body), 1), _CHUNK_BYTES)):
                    chunk = zlib.compress(body[start : start + _CHUNK_BYTES], 3)
                    self._rows(connection, "insert_chunk", {"hash": digest, "position": position, "body": chunk})
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes. Raises NotFound if they were pruned or do not match their hash."""
        body = b"".join(zlib.decompress(row["body"]) for row in self._all("chunks", hash=digest))
        if f"sha256:{hashlib.sha256(body).hexdigest()}" != digest:
            raise NotFound(f"The registry no longer holds {digest}.")
        return body

    def prune(self, *, days: int) -> int:
        """Delete old blobs that nothing refers to; how many."""
        row = self._one("prune", days=days)
        return int(row["pruned"]) if row else 0

"""The media store of the fake Langfuse: an address for each new medium, the bytes, the word that they came.

What would have harmed the real one is noted: keys sent to the object storage, bytes that are not those which
were announced, or of another type.
"""

from __future__ import annotations

from base64 import b64decode, b64encode, urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from langfuse_script import Script

MEDIA = "/api/public/media"
STORAGE = "/fake/storage/"
SIGNATURE = "X-Amz-Signature=0123456789abcdef"


@dataclass
class MediaShelf:
    """What was announced, what was stored, and what is complete."""

    asking: Script = field(default_factory=Script)
    """Answers to the question for an address."""
    storing: Script = field(default_factory=Script)
    """Answers of the object storage."""
    announced: list[dict[str, Any]] = field(default_factory=list)
    stored: dict[str, bytes] = field(default_factory=dict)
    complete: dict[str, bytes] = field(default_factory=dict)
    """What Langfuse can show, by media id."""
    puts: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)

    def ask(self, question: dict[str, Any], base_url: str) -> tuple[int, Any]:
        digest = b64decode(question["sha256Hash"])
        if len(digest) != 32 or question["field"] not in ("input", "output", "metadata"):
            return 400, {"message": "Invalid request data"}
        media_id = urlsafe_b64encode(digest).decode()[:22]
        self.announced.append(question | {"mediaId": media_id})
        address = None if media_id in self.complete else f"{base_url}{STORAGE}{media_id}?{SIGNATURE}"
        return 201, {"mediaId": media_id, "uploadUrl": address}

    def put(self, media_id: str, headers: dict[str, str], body: bytes) -> None:
        asked = [each for each in self.announced if each["mediaId"] == media_id]
        checksum = b64encode(sha256(body).digest()).decode()
        self.puts.append(media_id)
        if "authorization" in headers:
            self.violations.append("the storage was sent our keys")
        if not asked or headers.get("content-type") != asked[-1]["contentType"]:
            self.violations.append("another type than was signed")
        if headers.get("x-amz-checksum-sha256") != checksum or len(body) != asked[-1]["contentLength"]:
            self.violations.append("other bytes than were announced")
        self.stored[media_id] = body

    def tell(self, media_id: str, told: dict[str, Any]) -> tuple[int, Any]:
        if not {"uploadedAt", "uploadHttpStatus"} <= told.keys() or media_id not in self.stored:
            return 400, {"message": "Invalid request data"}
        if told["uploadHttpStatus"] == 200:
            self.complete[media_id] = self.stored[media_id]
        return 200, {}

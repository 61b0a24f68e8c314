"""Logs made by hand, byte for byte, so that they can also be made wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.audit.checkpoint import Signer
from gateway.audit.entry import pack_entry
from gateway.audit.filehead import NO_HASH, FileHead, pack_head, unwrap_key, wrap_key
from gateway.audit.frame import TAG_BYTES, Header, seal_frame
from gateway.audit.merkle import Tree, hash_leaf
from gateway.audit.verify import Verdict, Verifier
from gateway.exchange.stream import Stream

ORIGIN = "gateway/node/0a0b0c0d/security"
CAPACITY = 6000


class Opener:
    def __init__(self, kek: AESGCM) -> None:
        self._kek = kek

    def open(self, head: FileHead) -> AESGCM:
        return AESGCM(unwrap_key(self._kek, head))


class Forge:
    """Writes whole logs: `files` is a list of files, each a list of frames, each a list of payloads."""

    def __init__(self, seed: bytes = b"s" * 32, kek: bytes = b"k" * 32) -> None:
        self.signer = Signer(ORIGIN, seed)
        self.kek = AESGCM(kek)
        self.opener = Opener(self.kek)
        self.frames: list[list[bytes]] = []
        """Bytes of the frames of each file made."""
        self.heads: list[bytes] = []
        self.checkpoints: list[bytes] = []
        """Signed tree head after each frame."""

    def build(
        self,
        files: Sequence[Sequence[Sequence[bytes]]],
        *,
        slot: int = 1,
        times_ns: Sequence[int] | None = None,
        changes: dict[str, Any] | None = None,
    ) -> list[tuple[str, bytes]]:
        tree = Tree()
        last = NO_HASH
        frame_no = 1
        sequence = 100
        tail = 0
        out: list[tuple[str, bytes]] = []
        for number, frames in enumerate(files, 1):
            dek, key_id = bytes([number]) * 32, bytes([number]) * 8
            head = FileHead(
                file_no=number,
                created_ns=1,
                first_frame=frame_no,
                first_index=tree.size,
                capacity=CAPACITY,
                prev_sha256=last,
                prev_tail=tail,
                kek_id=b"kek-kek-",
                key_id=key_id,
                wrap_nonce=bytes(12),
                wrapped_key=wrap_key(self.kek, dek, nonce=bytes(12), origin=ORIGIN, file_no=number, key_id=key_id),
                public=self.signer.vkey.public,
                origin=ORIGIN,
                boot="boot",
                frontier=tuple(tree.frontier),
                sequences={slot: sequence - 1} if sequence > 100 else {},
            )
            if changes and changes.get("file_no") == number:
                head = msgspec.structs.replace(head, **{k: v for k, v in changes.items() if k != "file_no"})
            data = pack_head(head, self.signer)
            self.heads.append(data)
            self.frames.append([])
            for payloads in frames:
                bundle = b""
                for payload in payloads:
                    time_ns = times_ns[tree.size] if times_ns else 10**18 + sequence
                    entry = pack_entry(Stream.SECURITY, slot, time_ns, sequence, bytes(16), payload)
                    sequence += 1
                    bundle += len(entry).to_bytes(2, "little") + entry
                    tree.append(hash_leaf(entry))
                header = Header(
                    frame_no, tree.size - len(payloads), len(payloads), len(bundle) + TAG_BYTES, last, key_id
                )
                note = self.signer.checkpoint(tree.size, tree.root())
                self.checkpoints.append(note)
                frame, last = seal_frame(AESGCM(dek), header, bundle, note)
                frame_no += 1
                data += frame
                self.frames[-1].append(frame)
            tail = len(data)
            out.append((f"security-{number:012d}.log", data))
        name, data = out[-1]
        out[-1] = (name, data + bytes(CAPACITY - len(data)))
        return out

    def verify(
        self,
        files: Sequence[tuple[str, bytes]],
        *,
        keys: bool = True,
        checkpoint: bytes = b"",
        pinned: bool = True,
    ) -> Verdict:
        from gateway.audit.filehead import FileHeadError, parse_head

        verifier = Verifier(
            vkey=self.signer.vkey if pinned else None,
            opener=self.opener if keys else None,
            checkpoints=[("checkpoint", checkpoint)] if checkpoint else [],
        )
        heads: list[FileHead | None] = []
        for _, data in files:
            try:
                heads.append(parse_head(data)[0])
            except FileHeadError:
                heads.append(None)
        for i, (name, data) in enumerate(files):
            verifier.file(name, data, heads[i + 1] if i + 1 < len(files) else None)
        return verifier.finish()


@pytest.fixture
def forge() -> Forge:
    return Forge()


@pytest.fixture
def other_forge() -> Forge:
    return Forge(seed=b"t" * 32, kek=b"l" * 32)

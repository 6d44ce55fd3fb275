"""A path in, the kind of network filesystem it is on out."""

from __future__ import annotations

import os
import re
from pathlib import Path

_ESCAPE = re.compile(r"\\([0-7]{3})")
_MOUNTS = Path("/proc/self/mountinfo")
_REMOTE = frozenset(
    """
    afs beegfs ceph cifs coda fuse.blobfuse fuse.blobfuse2 fuse.ceph fuse.ceph-fuse fuse.cephfs fuse.curlftpfs
    fuse.davfs fuse.davfs2 fuse.gcsfuse fuse.glusterfs fuse.goofys fuse.juicefs fuse.mfs fuse.mount-s3
    fuse.mountpoint-s3 fuse.rclone fuse.s3fs fuse.s3ql fuse.seaweedfs fuse.smbnetfs fuse.sshfs fuse.weed
    glusterfs gpfs lustre ncpfs nfs nfs4 orangefs pvfs2 smb2 smb3 smbfs wekafs
    """.split()  # noqa: SIM905 - a list to be read
)
"""As the kernel names them. Other FUSE filesystems are local (mergerfs, gocryptfs, containers)."""


def network_filesystem_of(path: Path, mounts: Path = _MOUNTS) -> str | None:
    """What kind of network filesystem `path` is on; None for a local one, or where that cannot be seen."""
    try:
        table = mounts.read_text(errors="replace").splitlines()
    except OSError:
        return None
    real = os.path.realpath(path)
    kind, longest = "", -1
    for line in table:
        # mount-id parent-id device root MOUNT-POINT options [fields] - KIND source options
        fields, _, rest = line.partition(" - ")
        point = _ESCAPE.sub(lambda octal: chr(int(octal[1], 8)), fields.split(" ")[4]).rstrip("/")
        if (real == point or real.startswith(f"{point}/")) and len(point) >= longest:
            # Of several mounts on one point the last one is seen.
            kind, longest = rest.split(" ")[0], len(point)
    return kind if kind in _REMOTE else None

"""Network filesystems are known by the table of mounts."""

from __future__ import annotations

from pathlib import Path

import pytest

from kong_ai_tracing import statedir
from kong_ai_tracing.mounts import network_filesystem_of
from kong_ai_tracing.statedir import StoreError, prepare_state_dir


def table(tmp_path: Path, *mounts: tuple[str, str]) -> Path:
    path = tmp_path / "mountinfo"
    lines = [
        f"{36 + number} 35 98:0 / {point} rw,noatime shared:1 - {kind} source rw\n"
        for number, (point, kind) in enumerate(mounts)
    ]
    path.write_text("".join(lines))
    return path


@pytest.mark.parametrize(
    ("mounts", "kind"),
    [
        ([("/", "ext4")], None),
        ([("/", "ext4"), ("/srv", "nfs4")], "nfs4"),
        ([("/", "nfs4"), ("/srv", "xfs")], None),
        ([("/", "ext4"), ("/srv/st", "nfs4")], None),
        ([("/", "ext4"), ("/srv", "ext4"), ("/srv", "cifs")], "cifs"),
        ([("/", "ext4"), (r"/srv/my\040state", "fuse.sshfs")], "fuse.sshfs"),
        ([("/", "overlay"), ("/srv", "fuse.mergerfs")], None),
    ],
)
def test_the_mount_that_counts_is_the_innermost_and_last(
    tmp_path: Path, mounts: list[tuple[str, str]], kind: str | None
) -> None:
    """Not one whose name only begins alike."""
    assert network_filesystem_of(Path("/srv/my state/kong"), table(tmp_path, *mounts)) == kind


def test_where_mounts_cannot_be_seen_nothing_is_refused(tmp_path: Path) -> None:
    """The table is Linux's."""
    assert network_filesystem_of(tmp_path, tmp_path / "nowhere") is None
    assert network_filesystem_of(tmp_path) is None


def test_a_network_filesystem_is_refused_with_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Locks and shared memory do not hold there."""  # covers CHK-06
    monkeypatch.setattr(statedir, "network_filesystem_of", lambda path: "nfs4")
    with pytest.raises(StoreError, match=r"network filesystem \(nfs4\).*Set state_dir"):
        prepare_state_dir(tmp_path / "state")

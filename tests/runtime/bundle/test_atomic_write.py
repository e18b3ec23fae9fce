"""Artefacts appear whole or not at all: after an exception, a kill, a full disk, on a read-only file system."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from edgeclf_runtime.bundle import atomic_write as writer
from edgeclf_runtime.bundle.atomic_write import writing
from edgeclf_runtime.bundle.bundle import Bundle
from edgeclf_runtime.bundle.partial_folder import partial_folder
from edgeclf_runtime.deploy.machine_proofs import save_proof
from edgeclf_runtime.deploy.verify import verify
from edgeclf_runtime.errors import DataError, UsageError


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Path]:
    """A tmpfs of 64 KiB, where the user may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    try:
        mounts = subprocess.run(mount, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounts = False
    if not mounts:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def write_folder(destination: Path, text: str, *, force: bool = False) -> None:
    with writing(destination, force=force) as draft:
        (draft / "sub").mkdir(parents=True)
        (draft / "sub" / "file").write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_with_readable_modes_and_nothing_beside_it(tmp_path: Path) -> None:
    write_folder(tmp_path / "new" / "out", "hello")
    assert (tmp_path / "new" / "out" / "sub" / "file").read_text() == "hello"
    assert names(tmp_path / "new") == ["out"]
    assert (tmp_path / "new" / "out").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "new" / "out" / "sub" / "file").stat().st_mode & 0o777 == 0o644


def test_what_exists_is_refused_without_force(tmp_path: Path) -> None:
    write_folder(tmp_path / "out", "old")
    (tmp_path / "dangling").symlink_to("nowhere")
    for taken in ("out", "dangling"):
        with pytest.raises(UsageError, match=f"{taken} exists; give --force"):
            write_folder(tmp_path / taken, "new")
    assert (tmp_path / "out" / "sub" / "file").read_text() == "old"
    assert names(tmp_path) == ["dangling", "out"]


def test_force_replaces_a_folder_by_a_folder_a_file_by_a_file_and_each_by_the_other(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_folder(out, "old")
    write_folder(out, "new", force=True)
    assert (out / "sub" / "file").read_text() == "new"
    for text in ("a file", "another"):
        with writing(out, force=True) as draft:
            draft.write_text(text)
        assert out.read_text() == text
    write_folder(out, "a folder again", force=True)
    assert (out / "sub" / "file").read_text() == "a folder again"
    assert names(tmp_path) == ["out"]


def test_force_works_where_the_file_system_knows_no_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "_rename", lambda *_: False)
    write_folder(tmp_path / "out", "old")
    write_folder(tmp_path / "out", "new", force=True)
    assert (tmp_path / "out" / "sub" / "file").read_text() == "new"
    assert names(tmp_path) == ["out"]


@pytest.mark.parametrize("exchange", [True, False])
def test_what_appears_meanwhile_is_not_overwritten(
    exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchange:
        monkeypatch.setattr(writer, "_rename", lambda *_: False)
    with pytest.raises(DataError, match="out can't be written"), writing(tmp_path / "out") as draft:
        draft.write_text("mine")
        (tmp_path / "out").write_text("somebody else's")
    assert (tmp_path / "out").read_text() == "somebody else's"
    assert names(tmp_path) == ["out"]


def test_what_another_process_writes_at_the_last_moment_is_replaced_by_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename, other = writer._rename, iter(["somebody else's"])

    def late(*arguments: Any) -> bool:
        for text in other:
            (tmp_path / "out").write_text(text)
        return rename(*arguments)

    monkeypatch.setattr(writer, "_rename", late)
    with writing(tmp_path / "out", force=True) as draft:
        draft.write_text("mine")
    assert (tmp_path / "out").read_text() == "mine" and names(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_when_the_block_raises(error: type[BaseException], tmp_path: Path) -> None:
    with pytest.raises(error), writing(tmp_path / "out") as draft:
        draft.mkdir()
        (draft / "half").write_text("half")
        raise error
    assert names(tmp_path) == []


def test_the_old_one_stays_when_the_block_raises(tmp_path: Path) -> None:
    write_folder(tmp_path / "out", "old")
    with pytest.raises(RuntimeError), writing(tmp_path / "out", force=True) as draft:
        draft.mkdir()
        raise RuntimeError
    assert (tmp_path / "out" / "sub" / "file").read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_an_error_names_the_file_that_it_is_about(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No such file or directory \(.*lost\.bin\)"), writing(tmp_path / "out"):
        (tmp_path / "lost.bin").read_bytes()


@pytest.mark.parametrize("force", [False, True])
def test_a_killed_process_leaves_nothing_new_at_the_final_path(force: bool, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if force:
        write_folder(out, "old")
    script = f"""
from pathlib import Path
from edgeclf_runtime.bundle.atomic_write import writing
with writing(Path({str(out)!r}), force={force}) as draft:
    draft.mkdir()
    (draft / "half").write_text("half")
    print("half", flush=True)
    input()
"""
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None and child.stdout.readline() == b"half\n"
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    assert names(out) == ["sub"] if force else not out.exists()
    assert len(names(tmp_path)) == 1 + force
    write_folder(out, "new", force=force)
    assert names(out) == ["sub"] and names(tmp_path) == ["out"]  # what the dead one left behind is gone, too


def test_a_write_leaves_alone_what_others_still_work_in(tmp_path: Path) -> None:
    with partial_folder(tmp_path / "out") as held:
        write_folder(tmp_path / "out", "text")
        assert names(tmp_path) == [held.name, "out"]
    (tmp_path / ".out.partial-of-an-earlier-version" / "out").mkdir(parents=True)
    (tmp_path / ".out.partial-empty").mkdir()
    write_folder(tmp_path / "out", "text", force=True)
    assert names(tmp_path) == [".out.partial-of-an-earlier-version", "out"]


def test_of_many_writers_at_once_each_replaces_the_output_whole_and_nothing_is_left(tmp_path: Path) -> None:
    def write(number: int) -> None:
        write_folder(tmp_path / "out", str(number), force=True)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(40)))
    assert (tmp_path / "out" / "sub" / "file").read_text() in map(str, range(40))
    assert names(tmp_path) == ["out"]


def test_a_full_disk_is_a_data_error_and_leaves_nothing(mounted: Path) -> None:
    with pytest.raises(DataError, match="No space left on device"), writing(mounted / "out") as draft:
        draft.mkdir()
        (draft / "big").write_bytes(bytes(1 << 20))
    assert names(mounted) == []


def test_a_disk_that_is_full_only_when_synced_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match="No space left on device"):
        write_folder(tmp_path / "out", "text")
    assert names(tmp_path) == []


def test_a_folder_without_the_right_to_write_is_a_data_error(plain_user: Path) -> None:
    (plain_user / "locked").mkdir(mode=0o500)
    for place in (plain_user / "locked" / "out", plain_user / "locked" / "new" / "out"):
        with pytest.raises(DataError, match="Permission denied"):
            write_folder(place, "text")


def test_a_parent_that_is_a_file_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file/out can't be written"):
        write_folder(tmp_path / "file" / "out", "text")


def test_a_bundle_on_a_read_only_file_system_still_verifies(mounted: Path, bundle: Bundle) -> None:
    copy = mounted / "b"
    subprocess.run(["mount", "-o", "remount,size=4m", mounted], check=True)
    subprocess.run(["cp", "-r", bundle.path, copy], check=True)
    subprocess.run(["mount", "-o", "remount,ro", mounted], check=True)
    opened = Bundle.open(copy)
    proof = verify(opened)
    assert proof.verdict == "pass"
    assert save_proof(opened, proof) is None


def test_a_bundle_that_its_user_can_not_write_still_verifies(bundle: Bundle, plain_user: Path) -> None:
    locked = plain_user / "locked"
    locked.mkdir()
    os.seteuid(os.getuid())
    subprocess.run(["cp", "-r", bundle.path, locked / "b"], check=True)
    subprocess.run(["chmod", "-R", "a=rX", locked], check=True)
    os.seteuid(plain_user.stat().st_uid)
    opened = Bundle.open(locked / "b")
    proof = verify(opened)
    assert (proof.verdict, save_proof(opened, proof)) == ("pass", None)

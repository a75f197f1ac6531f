"""Files of folders that other processes change meanwhile."""

import shutil
import threading

from observer.base.files import bytes_below


def test_the_size_of_a_folder_that_is_filled_renamed_and_removed_meanwhile_is_asked_without_an_error(tmp_path):
    asked, moves, is_over = 0, 0, threading.Event()

    def move():
        nonlocal moves
        while not is_over.is_set():
            for depth in range(4):
                (tmp_path / "made" / "/".join("abcd"[:depth])).mkdir(exist_ok=True, parents=True)
            (tmp_path / "made/a/b/file").write_bytes(b"12345")
            (tmp_path / "made").rename(tmp_path / "done")
            shutil.rmtree(tmp_path / "done")
            moves += 1

    mover = threading.Thread(target=move)
    mover.start()
    try:
        while moves < 200:
            assert bytes_below(tmp_path) in (0, 5)
            asked += 1
    finally:
        is_over.set()
        mover.join()
    assert asked > 0

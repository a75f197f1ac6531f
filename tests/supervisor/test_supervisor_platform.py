"""A system runs on Linux alone, and says so elsewhere in one line."""

import pytest

from observer.base.errors import ConfigError
from observer.supervisor.linux import require_linux


def test_on_linux_nothing_is_said():
    require_linux()


@pytest.mark.parametrize(("platform", "name"), [("darwin", "macOS"), ("win32", "Windows"), ("freebsd14", "freebsd14")])
def test_another_platform_is_refused_in_one_line_with_the_reason_and_the_remedy(platform, name):
    with pytest.raises(ConfigError) as refused:
        require_linux(platform)
    [line] = str(refused.value).splitlines()
    assert line.startswith(f"a system runs on Linux alone: {name} lacks pidfds")
    assert "use a Linux machine" in line

"""Where something of ours may listen."""

from __future__ import annotations

import pytest

from kong_ai_tracing.config import ConfigError, load_config
from kong_ai_tracing.listenaddress import ListenAddressError, parse_listen_address


@pytest.mark.parametrize(
    ("text", "host", "port", "is_loopback"),
    [
        ("127.0.0.1:9465", "127.0.0.1", 9465, True),
        ("127.9.9.9:1", "127.9.9.9", 1, True),
        ("localhost:0", "localhost", 0, True),
        ("[::1]:9465", "::1", 9465, True),
        ("0.0.0.0:9465", "0.0.0.0", 9465, False),
        ("[::]:9465", "::", 9465, False),
        ("[::ffff:10.0.0.1]:9465", "::ffff:a00:1", 9465, False),
        ("10.0.0.7:9465", "10.0.0.7", 9465, False),
    ],
)
def test_an_address_is_a_host_and_a_port(text, host, port, is_loopback):
    """And knows whether others can reach it."""
    address = parse_listen_address(text)
    assert (address.host, address.port, address.is_loopback) == (host, port, is_loopback)
    assert parse_listen_address(str(address)) == address


@pytest.mark.parametrize(
    "text",
    ["9465", ":9465", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:\uff11",
     "::1:9465", "[127.0.0.1]:9465", "gateway.example.com:9465", "127.1:9465", "", "http://127.0.0.1:9465"],
)  # fmt: skip
def test_what_is_no_address_is_refused_with_the_way_out(text):
    """A name is none: it could mean another host tomorrow."""
    with pytest.raises(ListenAddressError) as refused:
        parse_listen_address(text)
    assert "write it like" in refused.value.fix


def load(tmp_path, *lines):
    path = tmp_path / "config.toml"
    path.write_text("\n".join(['log_paths = ["/var/log/ai.log"]', f'state_dir = "{tmp_path}"', *lines]))
    return load_config(path, {})


def test_the_status_page_is_for_this_host_unless_the_operator_says_so(tmp_path):
    """There is no password: an address that others can reach needs a second word."""
    assert load(tmp_path).status.listen is None
    assert load(tmp_path, "[status]", 'listen = "[::1]:9465"').status.listen == "[::1]:9465"
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, "[status]", 'listen = "0.0.0.0:9465"')
    [problem] = refused.value.problems
    assert problem.key == "status.listen"
    assert '"127.0.0.1:9465"' in problem.fix
    assert load(tmp_path, "[status]", 'listen = "0.0.0.0:9465"', "allow_remote = true").status.allow_remote


def test_a_broken_address_is_a_problem_of_the_configuration(tmp_path):
    """It is told with the others, not when something should be served."""
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, "[status]", 'listen = "9465"')
    assert [problem.key for problem in refused.value.problems] == ["status.listen"]

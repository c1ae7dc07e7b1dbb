"""What a stdio child inherits."""

from metamcp_asgi.upstream.environment import child_environment


def test_the_gateways_own_variables_stay_with_the_gateway() -> None:
    environ = {"PATH": "/bin", "HOME": "/home/a", "https_proxy": "http://p:1", "DATABASE_URL": "secret", "LANG": "C"}
    assert child_environment({}, environ) == {"PATH": "/bin", "HOME": "/home/a", "https_proxy": "http://p:1"}


def test_configured_variables_are_added_and_win() -> None:
    configured = (("PATH", "/opt/bin"), ("TOKEN", "()x"))
    assert child_environment(configured, {"PATH": "/bin", "TERM": "dumb"}) == {
        "PATH": "/opt/bin",
        "TERM": "dumb",
        "TOKEN": "()x",
    }
    assert child_environment({"A": "1"}, {}) == {"A": "1"}


def test_exported_shell_functions_are_not_inherited() -> None:
    assert child_environment({}, {"TERM": "() { :; }; echo hacked", "USER": "a"}) == {"USER": "a"}

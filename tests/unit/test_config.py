"""The configuration: read once from ROTA_*, and a wrong value is named."""

from pathlib import Path

import pytest

from events.config import Config
from events.sources import S3Connection
from rota.errors import InvalidRequestError


def test_an_empty_environment_gives_the_defaults() -> None:
    assert Config.read({}) == Config()
    assert Config().host == "127.0.0.1"


def test_values_come_from_the_environment() -> None:
    config = Config.read({"ROTA_HOME": "data", "ROTA_PORT": "0", "ROTA_SHARDS": "4", "HOME": "elsewhere"})

    assert config == Config(home=Path("data"), port=0, shards=4)
    assert config.views == Path("data/views.sqlite")


def test_an_empty_variable_is_as_one_that_is_not_set() -> None:
    assert Config.read({"ROTA_PORT": "", "ROTA_NATS_URL": ""}) == Config()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ROTA_PORT", "http"),
        ("ROTA_PORT", "65536"),
        ("ROTA_SHARDS", "0"),
        ("ROTA_SHARDS", "17"),
        ("ROTA_READERS", "-1"),
        ("ROTA_MAX_BODY_BYTES", "1"),
        ("ROTA_KEEP_EVENTS_DAYS", "-1"),
        ("ROTA_KEEP_RESULTS_DAYS", "a month"),
        ("ROTA_LOG_LEVEL", "loud"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_the_variable(name: str, value: str) -> None:
    with pytest.raises(InvalidRequestError, match=f"^{name} is wrong: "):
        Config.read({name: value})


def test_a_home_without_connections_has_none(tmp_path: Path) -> None:
    assert Config(home=tmp_path).connections() == {}


def test_connections_are_read_each_time_that_they_are_asked_for(tmp_path: Path) -> None:
    config = Config(home=tmp_path)
    file = tmp_path / "connections.toml"
    file.write_text('[lake]\nkind = "s3"\nroot = "data"\nkey = "k"\nsecret = "hush"\n')
    assert config.connections() == {"lake": S3Connection(root="data", key="k", secret="hush")}

    file.write_text('[web]\nkind = "http"\nroot = "https://data.example.com"\n')
    assert list(config.connections()) == ["web"]


def test_a_connection_does_not_show_its_secrets() -> None:
    connection = S3Connection(root="data", key="open sesame", secret="hush")

    assert repr(connection) == "S3Connection('data')"
    assert "hush" not in f"{connection} {connection!r} {[connection]}"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('[lake]\nkind = "ftp"\nsecret = "hush"\n', "[lake] kind is 'ftp', not one of http, s3, sftp, webdav"),
        ('[lake]\nkind = "s3"\nsecrte = "hush"\n', "unknown field `secrte`"),
        ('[lake]\nkind = "s3"\nsecret = ["hush"]\n', "Expected `str | null`, got `array`"),
        ('[lake]\nkind = "http"\nroot = "data.example.com/hush"\n', "root is no URL of http or https"),
        ('["the lake"]\nkind = "s3"\nsecret = "hush"\n', "matching regex"),
        ('[lake]\nkind = "s3"\nsecret = "hush\n', "line 3"),
    ],
    ids=["kind", "field", "type", "root", "name", "syntax"],
)
def test_a_wrong_connection_is_an_error_that_names_the_file_and_no_secret(
    tmp_path: Path, text: str, reason: str
) -> None:
    file = tmp_path / "connections.toml"
    file.write_text(text)

    with pytest.raises(InvalidRequestError) as caught:
        Config(home=tmp_path).connections()

    assert str(caught.value).startswith("connections.toml: ")
    assert reason in str(caught.value)
    assert "hush" not in str(caught.value)

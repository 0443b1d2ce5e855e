"""Settings: where they come from, which wins, and what is said of a wrong one."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from gateway.settings import Settings, SettingsError, load, read_sources

SECRET = "8f1d0c6a5b7e93424d1f6e0a9c8b7d35"


def read(environ: Mapping[str, str]) -> Settings:
    """Settings of an environment, without what the file of the checkout may say."""
    return load(environ, pytest.fail)


def test_without_a_word_everything_has_its_default() -> None:
    assert read({}) == Settings()


@pytest.mark.parametrize(
    ("variable", "value", "name", "expected"),
    [
        ("GATEWAY_KEYS", "a=secret one,b=two", "keys", "a=secret one,b=two"),
        ("GATEWAY_UPSTREAM_URL", "http://localhost:1/base", "upstream_url", "http://localhost:1/base"),
        ("GATEWAY_UPSTREAM_BASE_URL", "https://a.example", "upstream_url", "https://a.example"),
        ("AI302_BASE_URL", "https://a.example", "upstream_url", "https://a.example"),
        ("AI302_API_KEY", "sk-1", "upstream_keys", ("sk-1",)),
        ("GATEWAY_UPSTREAM_KEYS", "sk-1, sk-2,\nsk-3,", "upstream_keys", ("sk-1", "sk-2", "sk-3")),
        ("GATEWAY_UPSTREAM_TIMEOUT", "1.5", "upstream_timeout", 1.5),
        ("GATEWAY_UPSTREAM_CONCURRENCY", "7", "upstream_concurrency", 7),
        ("GATEWAY_IMAGE_HOSTS", "a.example, b.example:8443", "image_hosts", ("a.example", "b.example:8443")),
        ("GATEWAY_CACHE_TTL", "0", "cache_ttl", 0),
        ("GATEWAY_CACHE_SCOPE", "team", "cache_scope", "team"),
        ("GATEWAY_COERCION", "strict", "coercion", "strict"),
        ("GATEWAY_UNKNOWN_MODELS", "forward", "unknown_models", "forward"),
        ("GATEWAY_RESPONSE_FORMAT_DEFAULT", "both", "response_format_default", "both"),
        ("GATEWAY_CACHE_TTL", "", "cache_ttl", 3600),
        ("GATEWAY_DATABASE_URL", "sqlite:////var/lib/gateway.db", "database_url", "sqlite:////var/lib/gateway.db"),
        ("GATEWAY_DATABASE_URL", "postgresql://u:p@h/d?host=/run", "database_url", "postgresql://u:p@h/d?host=/run"),
        ("GATEWAY_SECRET", SECRET, "secret", SECRET),
        ("GATEWAY_ADMIN_KEY", SECRET, "admin_key", SECRET),
        ("GATEWAY_SECRET", "", "secret", ""),
        ("GATEWAY_WEBHOOK_SECRET", "whsec_" + "MfKQ" * 10, "webhook_secret", "whsec_" + "MfKQ" * 10),
    ],
)
def test_a_variable_sets_a_setting(variable: str, value: str, name: str, expected: object) -> None:
    assert getattr(read({variable: value}), name) == expected


WRONG = [
    ("GATEWAY_CACHE_TTL", "soon"),
    ("GATEWAY_CACHE_TTL", "-1"),
    ("GATEWAY_CACHE_TTL", "1.5"),
    ("GATEWAY_CACHE_SCOPE", "world"),
    ("GATEWAY_COERCION", "Strict"),
    ("GATEWAY_UNKNOWN_HOLD", "99999999"),
    ("GATEWAY_UPSTREAM_TIMEOUT", "0"),
    ("GATEWAY_UPSTREAM_TIMEOUT", "nan"),
    ("GATEWAY_UPSTREAM_TIMEOUT", "inf"),
    ("GATEWAY_UPSTREAM_MODE", "webhook"),
    ("GATEWAY_WEBHOOK_HOSTS", "https://hooks.example"),
    ("GATEWAY_UPSTREAM_CONCURRENCY", "0"),
    ("GATEWAY_UPSTREAM_URL", "api.302.ai"),
    ("GATEWAY_UPSTREAM_URL", "ftp://api.302.ai"),
    ("GATEWAY_UPSTREAM_URL", "https://"),
    ("GATEWAY_UPSTREAM_URL", "https://api.302.ai/?key=1"),
    ("GATEWAY_UPSTREAM_URL", "https://api.302.ai:port"),
    ("GATEWAY_UPSTREAM_URL", "https://“api.302.ai”"),
    ("GATEWAY_UPSTREAM_KEYS", "sk-1 sk-2"),
    ("GATEWAY_UPSTREAM_KEYS", "sk-é"),
    ("GATEWAY_IMAGE_HOSTS", "https://a.example"),
    ("GATEWAY_IMAGE_HOSTS", "user@a.example"),
    ("GATEWAY_IMAGE_HOSTS", "a.example:port"),
    ("GATEWAY_KEYS", "just-a-secret"),
    ("GATEWAY_KEYS", "a=one,a=two"),
    ("GATEWAY_KEYS", "a=one,b=one"),
    ("GATEWAY_MAX_BODY", "10"),
    ("GATEWAY_ANSWER_TIMEOUT", "10"),
    ("GATEWAY_DATABASE_URL", "mysql://localhost/gateway"),
    ("GATEWAY_DATABASE_URL", "sqlite://"),
    ("GATEWAY_DATABASE_URL", "gateway.db"),
    ("GATEWAY_SECRET", "x" * 31),
    ("GATEWAY_SECRET", "changeme" * 8),
    ("GATEWAY_SECRET", "0" * 64),
    ("GATEWAY_ADMIN_KEY", "too-short"),
    ("GATEWAY_ADMIN_KEY", "your-admin-key-your-admin-key-your-admin-key"),
]


@pytest.mark.parametrize(("variable", "value"), WRONG, ids=[f"{name}={value}" for name, value in WRONG])
def test_a_wrong_value_stops_with_a_sentence_that_names_its_variable(variable: str, value: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        read({variable: value})


@pytest.mark.parametrize(
    ("variable", "value"),
    [("GATEWAY_KEYS", "a=s3cret,b=s3cret"), ("GATEWAY_KEYS", "s3cret"), ("GATEWAY_UPSTREAM_KEYS", "s3cret x")],
    ids=["twice", "no-name", "space"],
)
def test_a_wrong_secret_is_not_repeated(variable: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read({variable: value})

    assert "s3cret" not in str(caught.value)


def test_a_file_has_them_all_and_the_environment_wins(tmp_path: Path) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text('cache_ttl = 5\ncoercion = "nearest"\nimage_hosts = ["a.example"]\n')

    settings = read({"GATEWAY_CONFIG": str(file), "GATEWAY_CACHE_TTL": "6"})

    assert (settings.cache_ttl, settings.coercion, settings.image_hosts) == (6, "nearest", ("a.example",))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("cache_tll = 5", "cache_tll.*did you mean cache_ttl", id="misspelt"),
        pytest.param("[table]\na = 1", "table", id="table"),
        pytest.param("cache_ttl = 'soon'", "cache_ttl is wrong", id="wrong"),
        pytest.param("cache_ttl = ", "gateway.toml", id="no-toml"),
    ],
)
def test_a_wrong_file_is_named_with_its_line_of_trouble(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(text)

    with pytest.raises(SettingsError, match=words) as caught:
        read({"GATEWAY_CONFIG": str(file)})

    assert str(file) in str(caught.value)


@pytest.mark.parametrize("variable", ["GATEWAY_CONFIG", "GATEWAY_KEYS_FILE", "GATEWAY_UPSTREAM_KEYS_FILE"])
def test_a_file_that_is_not_there_is_named_with_its_variable(variable: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=f"{variable}.*nowhere"):
        read({variable: str(tmp_path / "nowhere")})


def test_a_file_that_is_no_text_is_told_so(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_bytes(b"\xff\xfe")

    with pytest.raises(SettingsError, match="UTF-8"):
        read({"GATEWAY_KEYS_FILE": str(file)})


def test_a_secret_may_lie_in_a_file(tmp_path: Path) -> None:
    keys, upstream = tmp_path / "keys", tmp_path / "upstream"
    keys.write_text("a=one\nb=two\n")
    upstream.write_text("sk-1\nsk-2\n")

    settings = read({"GATEWAY_KEYS_FILE": str(keys), "GATEWAY_UPSTREAM_KEYS_FILE": str(upstream)})

    assert (settings.keys, settings.upstream_keys) == ("a=one\nb=two", ("sk-1", "sk-2"))


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        (
            "GATEWAY_CACHE_TLL",
            ["GATEWAY_CACHE_TLL is no setting of this gateway; did you mean GATEWAY_CACHE_TTL?; it is ignored"],
        ),
        ("GATEWAY_SERVICE_HOST", []),
        ("GATEWAY_PORT_8302_TCP", []),
        ("OTHER", []),
    ],
)
def test_an_unknown_variable_is_only_warned_of(variable: str, told: list[str]) -> None:
    seen: list[str] = []

    assert load({variable: "1"}, seen.append) == Settings()

    assert seen == told


def test_a_settings_text_hides_every_secret() -> None:
    settings = Settings(
        keys="a=s3cret",
        upstream_keys=("s3cret",),
        redis_url="redis://:s3cret@h",
        cache_redis_url="redis://:s3cret@h",
        database_url="postgresql://u:s3cret@h/d",
        secret="s3cret",
        admin_key="s3cret",
        webhook_secret="s3cret",
    )

    assert "s3cret" not in repr(settings)


def test_the_admin_key_is_for_nothing_else() -> None:
    for other in ({"GATEWAY_SECRET": SECRET}, {"GATEWAY_KEYS": f"web={SECRET}"}):
        with pytest.raises(SettingsError, match="GATEWAY_ADMIN_KEY"):
            read({"GATEWAY_ADMIN_KEY": SECRET, **other})


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_" + "?" * 44, "MfKQ" * 10, "whsec_" + "MfKQ" * 30]
)
def test_webhooks_are_signed_with_a_secret_of_standard_webhooks(secret: str) -> None:
    with pytest.raises(SettingsError, match="GATEWAY_WEBHOOK_SECRET"):
        read({"GATEWAY_WEBHOOK_HOSTS": "hooks.example", "GATEWAY_WEBHOOK_SECRET": secret})


def test_a_secret_of_an_empty_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("\n")

    with pytest.raises(SettingsError, match=r"GATEWAY_SECRET_FILE.*empty"):
        read({"GATEWAY_SECRET_FILE": str(tmp_path / "secret")})


def test_the_database_is_a_file_of_the_data_folder_where_none_is_named(tmp_path: Path) -> None:
    assert Settings(data_dir=str(tmp_path)).durable_url == f"sqlite:///{tmp_path}/gateway.db"
    assert Settings(database_url="postgresql://h/d").durable_url == "postgresql://h/d"


def test_the_second_redis_is_for_pictures_where_there_is_one() -> None:
    assert Settings(redis_url="redis://a").picture_redis_url == "redis://a"
    assert Settings(redis_url="redis://a", cache_redis_url="redis://b").picture_redis_url == "redis://b"


def test_the_catalogue_is_ours_and_then_the_operators(tmp_path: Path) -> None:
    file = tmp_path / "more.toml"
    file.write_text("[models]\n")

    assert next(name for name, _ in read_sources(Settings())).endswith("models.toml")
    assert read_sources(Settings(models=str(file)))[1] == (str(file), "[models]\n")
    with pytest.raises(SettingsError, match=r"GATEWAY_MODELS.*nowhere"):
        read_sources(Settings(models=str(tmp_path / "nowhere")))

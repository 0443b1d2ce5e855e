"""What settings make of themselves: the catalogue, and the options of pipeline, web and upstream."""

from gateway.adapters.upstream import UpstreamOptions
from gateway.core.catalogue import Catalogue
from gateway.core.catalogue import load as load_catalogue
from gateway.core.coerce import Policy
from gateway.core.order import Options
from gateway.core.translate import Rules
from gateway.settings import Settings, read_sources
from gateway.web.places import WebOptions


def catalogue(settings: Settings) -> Catalogue:
    """The catalogue of these settings; raises CatalogueError."""
    return load_catalogue(
        read_sources(settings),
        settings.default_model,
        for_edits=settings.edit_model,
        for_variations=settings.variation_model,
    )


def options(settings: Settings) -> Options:
    """The pipeline's."""
    return Options(
        policy=Policy(settings.coercion),
        cache_scope=settings.cache_scope,
        answer_timeout=settings.answer_timeout,
        picture_ttl=settings.cache_ttl,
        variation_prompt=settings.variation_prompt,
        rules=Rules(settings.response_format_default, settings.unknown_models),
    )


def web_options(settings: Settings) -> WebOptions:
    """The endpoints'."""
    return WebOptions(
        max_body=settings.max_body,
        max_form=settings.max_form,
        keepalive_after=settings.keepalive_after,
        public_url=settings.public_url,
        trusted_proxies=settings.trusted_proxies,
    )


def upstream_options(settings: Settings) -> UpstreamOptions:
    """The paid call's."""
    return UpstreamOptions(
        mode=settings.upstream_mode,
        timeout=settings.upstream_timeout,
        concurrency=settings.upstream_concurrency,
    )

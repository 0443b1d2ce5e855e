"""Rows of teams and keys as values, and back."""

from collections.abc import Iterable
from typing import Any, Final

from sqlalchemy import RowMapping

from gateway.core.coerce import Policy
from gateway.core.keys import Terms

TERMS: Final = tuple(Terms.__dataclass_fields__)


def terms_of(row: RowMapping) -> Terms:
    """The terms in a row of teams or keys."""
    values: dict[str, Any] = {name: row[name] for name in TERMS}
    coercion = values["coercion"]
    return Terms(
        **{
            **values,
            "models": tuple(row["models"].split()),
            "coercion": Policy(coercion) if coercion else None,
        }
    )


def columns_of(terms: Terms, names: Iterable[str] = TERMS) -> dict[str, Any]:
    """Terms as columns, all or those named."""
    values = {name: getattr(terms, name) for name in names}
    if "models" in values:
        values["models"] = "\n".join(terms.models)
    if values.get("coercion") is not None:
        values["coercion"] = str(terms.coercion)
    return values

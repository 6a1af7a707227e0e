"""A MongoDB database by its address, such as ``mongodb://reader@host/shop``.

An address may contain a password. Nothing that Restock prints or stores has more of it than the
hosts and the name of the database: neither the ``str`` and ``repr`` of a `Database`, nor an error.
"""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from ml.errors import RestockError, SettingsError

if TYPE_CHECKING:
    import pymongo.database

_ADDRESS = re.compile(
    r"(?P<scheme>mongodb(?:\+srv)?)://"
    r"(?:(?P<user>[^:@/?#]+)(?P<password>:[^:@/?#]*)?@)?"
    r"(?P<hosts>[^@/?#]+)/(?P<name>[^@/?#\\. \"$*<>:|]+)(?:\?[^#]*)?"
)
# An option in the address overrides these.
_OPTIONS: dict[str, Any] = {
    "appname": "restock",
    "serverSelectionTimeoutMS": 5_000,
    "connectTimeoutMS": 5_000,
    "socketTimeoutMS": 300_000,
    "uuidRepresentation": "standard",
    # A date before year 1 or after year 9999 becomes a number.
    "datetime_conversion": "DATETIME_AUTO",
}
_NO_ACCESS = {
    13: "the user may not do this. Ask for the role read, or for readWrite to export",
    18: "the server rejects the user or the password. Correct them, in the address or in "
    "RESTOCK_MONGO_PASSWORD; if the user is defined in another database, add ?authSource=admin",
}
_NO_ACCESS[8000] = _NO_ACCESS[18]  # of Atlas


@dataclass(frozen=True)
class Database:
    """A MongoDB database, and how to connect to it."""

    place: str
    """The address without user, password and options."""
    name: str
    address: str = field(repr=False)
    password: str = field(repr=False)
    """The password of the user in the address, if the address has none."""

    @classmethod
    def from_address(cls, address: str, password: str = "") -> Self:
        """Read an address.

        Raises:
            SettingsError: it is not one, or does not name a database.
        """
        found = _ADDRESS.fullmatch(address)
        if not found:
            raise SettingsError(
                "the MongoDB address is not valid. Write mongodb://USER:PASSWORD@HOST/DATABASE, "
                "and special characters of the user and the password as in %40 for @"
            )
        needs_password = found["user"] and not found["password"]
        place = f"{found['scheme']}://{found['hosts']}/{found['name']}"
        return cls(place, found["name"], address, password if needs_password else "")

    def __str__(self) -> str:
        return self.place

    @property
    def folder(self) -> str:
        """A name for the folder of its documents."""
        return f"{self.name}-{hashlib.sha256(self.place.encode()).hexdigest()[:8]}"

    @contextmanager
    def connected(self) -> Iterator["pymongo.database.Database[dict[str, Any]]"]:
        """Connect, read from a secondary if there is one, and turn PyMongo's errors into ours.

        Raises:
            SettingsError: PyMongo is not installed, the address is not valid, or the server rejects
                the user.
            RestockError: no server answers, the connection is lost, or a command fails.
        """
        try:
            import bson.errors
            import pymongo
            from pymongo import errors
        except ModuleNotFoundError:
            raise SettingsError("MongoDB needs PyMongo: run pip install 'restock[mongo]'") from None
        given = self.address.partition("?")[2].casefold()
        options = {n: value for n, value in _OPTIONS.items() if n.casefold() not in given}
        if self.password:
            options["password"] = self.password
        try:
            client: pymongo.MongoClient[dict[str, Any]]
            client = pymongo.MongoClient(self.address, **options)
        except (errors.PyMongoError, ValueError, TypeError):  # The text may have a password.
            raise self._invalid() from None
        secondary = pymongo.ReadPreference.SECONDARY_PREFERRED
        try:
            with client:
                yield client.get_database(self.name, read_preference=secondary)
        except errors.ConfigurationError:  # The host is not in the domain name system.
            raise self._invalid() from None
        except errors.ServerSelectionTimeoutError:
            raise RestockError(
                f"{self}: no server answers. Check that it runs, the host and the port, TLS, and "
                "that it accepts connections from this machine."
            ) from None
        except errors.ConnectionFailure:
            raise RestockError(
                f"{self}: the connection was lost, and nothing has changed. Run the same command "
                "again."
            ) from None
        except errors.OperationFailure as error:
            if advice := _NO_ACCESS.get(error.code or 0):
                raise SettingsError(f"{self}: {advice}.") from None
            said = (error.details or {}).get("errmsg", f"error {error.code}")
            raise RestockError(
                f"{self}: MongoDB refuses a command: {said}. Correct that, or run the same command "
                "again."
            ) from None
        except (errors.PyMongoError, bson.errors.BSONError) as error:
            raise RestockError(f"{self}: MongoDB: {type(error).__name__}: {error}.") from None

    def _invalid(self) -> SettingsError:
        return SettingsError(
            f"{self}: PyMongo does not accept the address. Check the host and the options, and set "
            "RESTOCK_MONGO_PASSWORD if the user has a password."
        )


def is_address(text: str) -> bool:
    """Return whether a text is meant as the address of a MongoDB database."""
    return text.startswith(("mongodb:", "mongodb+srv:"))

"""PostGIS: migrations, COPY and guarded merge, beliefs in two clocks, queries.

store = open_store("postgresql://...")
store.migrate()
with store.transaction(code) as tx:
    known = tx.objects(code)
    tx.write_objects(code, believe(fused, looks, known))
"""

from kryss.store.errors import (
    MigrationError,
    SchemaMissing,
    StoreError,
    StoreUnavailable,
    UnknownMunicipality,
)
from kryss.store.features import LayerRows, LayerSummary
from kryss.store.merge import Counts
from kryss.store.read import Reader
from kryss.store.rows import stored_intersection, stored_object
from kryss.store.store import Store, open_store
from kryss.store.write import Tx

__all__ = [
    "Counts",
    "LayerRows",
    "LayerSummary",
    "MigrationError",
    "Reader",
    "SchemaMissing",
    "Store",
    "StoreError",
    "StoreUnavailable",
    "Tx",
    "UnknownMunicipality",
    "open_store",
    "stored_intersection",
    "stored_object",
]

"""What Airflow's api-server answers under ``/kryss``: pages, files of releases, and the JSON that the pages ask for.

Who may see what is Airflow's to say: everything needs its login (the cookie of its pages or a bearer token), a municipality
needs the right to read the DAG ``refresh_<code>``, a verdict the right to trigger it. A municipality that does not exist and one
that the user may not see answer alike. All handlers are synchronous: they run in the server's threads, as they wait for the
database and for storage.
"""

from __future__ import annotations

import atexit
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
from airflow.configuration import conf
from airflow.models.dag import DagModel
from fastapi import Depends, FastAPI, HTTPException, Path, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from kryss.config import ConfigError, MunicipalityConfig, Settings, load_municipalities
from kryss.imagery import PhotoStore
from kryss.layer import page as pages
from kryss.pipeline import evidence, quality, runs
from kryss.pipeline.published import LATEST, NotPublished, Published, Unreadable, chunks, reading
from kryss.store import verdicts
from kryss.store.connect import CONNECT_TIMEOUT_S, parse_url
from kryss.store.errors import SchemaMissing, StoreError, translated

log = logging.getLogger(__name__)

STATEMENT_TIMEOUT_S = 20
MAX_BODY = 64 * 1024
FRESH_S = 5.0
"""So long the municipalities and the settings are taken as read."""
CHECKED_PHOTOS = 60
"""Of so many sightings of an object, the nearest, it is looked up whether the photo is kept."""

TYPES = {
    "geojson": "application/geo+json",
    "json": "application/json",
    "gz": "application/gzip",
    "md": "text/markdown; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "parquet": "application/vnd.apache.parquet",
    "pmtiles": "application/vnd.pmtiles",
}
"""Content types by the end of the name; anything else is ``application/octet-stream``."""
FOREVER = "private, max-age=31536000, immutable"
"""Of a file that never changes. Private: it is behind a login."""
ASK_AGAIN = "private, no-cache"
INERT = "default-src 'none'; sandbox; frame-ancestors 'self'"
"""Of everything that is no page of ours: it runs nothing, whatever it holds."""
OLD_PAGE = "sandbox allow-scripts allow-popups; frame-ancestors 'self'"
"""Of pages that releases of schema 1 carry: they may run, but not as a page of this Airflow."""


class NotSignedIn(Exception):  # noqa: N818 - it says what is the case
    """No valid user came with the request."""


# -- who asks ---------------------------------------------------------------------------------------------------------------


async def signed_in(
    request: Request, bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer_scheme)] = None
) -> BaseUser:
    """The user, by Airflow's own rules: a bearer token, else the cookie of its pages."""
    try:
        return await get_user(request, None, bearer)
    except HTTPException as error:
        raise NotSignedIn(str(error.detail)) from None


User = Annotated[BaseUser, Depends(signed_in)]


def _may(user: BaseUser, code: str, method: Literal["GET", "POST"], entity: DagAccessEntity | None = None) -> bool:
    dag_id = f"refresh_{code}"
    details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
    return bool(get_auth_manager().is_authorized_dag(method=method, access_entity=entity, details=details, user=user))


def may_judge(user: BaseUser, code: str) -> bool:
    return _may(user, code, "POST", DagAccessEntity.RUN)


def visible(code: Annotated[str, Path()], user: User) -> MunicipalityConfig:
    """The municipality, if there is one of this code that the user may see."""
    config = municipalities().get(code)
    if config is None or not _may(user, config.code, "GET"):
        raise HTTPException(404, f"no municipality {code[:40]!r} that you may see")
    return config


Town = Annotated[MunicipalityConfig, Depends(visible)]


def from_here(request: Request) -> None:
    """Refuses a change that another site made the browser ask for: it must be JSON, and come from a page of this server.

    A bearer token is proof enough of the latter: no browser sends one by itself.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "a change is asked for with Content-Type: application/json")
    if request.headers.get("authorization", "").lower().startswith("bearer "):
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    own = {_origin(str(request.base_url)), _origin(conf.get("api", "base_url", fallback=""))} - {""}
    if site not in (None, "same-origin") or (origin is not None and origin not in own) or (site is None and origin is None):
        raise HTTPException(403, "a change is asked for from a page of this server, or with a bearer token")


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


def judging(town: Town, user: User, _: Annotated[None, Depends(from_here)]) -> MunicipalityConfig:
    if not may_judge(user, town.code):
        raise HTTPException(403, f"a verdict needs the right to trigger refresh_{town.code}")
    return town


# -- what is asked ----------------------------------------------------------------------------------------------------------


class _Fresh:
    """A value that is made again once it is older than `FRESH_S`."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make, self._lock = make, Lock()
        self._value, self._until = None, 0.0

    def __call__(self) -> Any:
        with self._lock:
            if time.monotonic() >= self._until:
                self._value = self._make()
                self._until = time.monotonic() + FRESH_S
            return self._value


def _connection_url() -> str | None:
    """The database that the Airflow connection ``kryss_postgis`` names, as it does for tasks."""
    from airflow.exceptions import AirflowNotFoundException
    from airflow.models.connection import Connection as AirflowConnection

    try:
        found = AirflowConnection.get_connection_from_secrets("kryss_postgis")
    except AirflowNotFoundException:
        return None
    return re.sub(r"^postgres(ql)?(\+\w+)?://", "postgresql://", found.get_uri())


municipalities: Callable[[], dict[str, MunicipalityConfig]] = _Fresh(load_municipalities)
settings: Callable[[], Settings] = _Fresh(lambda: Settings.from_env(database_url=_connection_url()))


class _Database:
    """One small pool of connections in this process, made when it is first needed."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._url: URL | None = None
        self._engine: Engine | None = None
        atexit.register(self.dispose)

    def dispose(self) -> None:
        if self._engine is not None:
            self._engine.dispose()

    def _pool(self, url: URL) -> Engine:
        with self._lock:
            if self._engine is None or self._url != url:
                self.dispose()
                options = f"-c timezone=UTC -c statement_timeout={STATEMENT_TIMEOUT_S * 1000}"
                arguments = {"options": options, "application_name": "kryss-web", "connect_timeout": CONNECT_TIMEOUT_S}
                self._engine = create_engine(
                    url,
                    pool_size=2,
                    max_overflow=4,
                    pool_timeout=10,
                    pool_pre_ping=True,
                    pool_recycle=1800,
                    connect_args=arguments,
                    hide_parameters=True,
                )
                self._url = url
            return self._engine

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        url = parse_url(settings().database_url.get_secret_value())
        try:
            with self._pool(url).begin() as connection:
                yield connection
        except DBAPIError as error:
            raise translated(error, url) from None
        except SQLAlchemyError as error:
            raise StoreError(f"the database did not answer: {type(error).__name__}") from None


database = _Database()


def published(town: MunicipalityConfig) -> Published:
    return Published(town.release_url or settings().release_url, town.code)


def _api(request: Request) -> str:
    return f"{request.scope.get('root_path', '')}/api"


def _page(request: Request, name: str, value: Mapping[str, Any]) -> HTMLResponse:
    text = pages.slot(pages.built(name), {**value, "api": _api(request)})
    return HTMLResponse(text, headers={"Cache-Control": ASK_AGAIN})


# -- answers to trouble -----------------------------------------------------------------------------------------------------


def _is_api(request: Request) -> bool:
    return request.url.path.startswith(f"{_api(request)}/")


def _wants_page(request: Request) -> bool:
    """Whether a person waits for a page: a browser that goes somewhere says so; others are told apart by the address."""
    mode = request.headers.get("sec-fetch-mode")
    path = request.url.path.removeprefix(request.scope.get("root_path", ""))
    is_file = path.startswith("/layer/") and not path.endswith(("/", "/index.html"))
    return not _is_api(request) and request.method in ("GET", "HEAD") and (mode in (None, "navigate")) and not is_file


def _not_signed_in(request: Request, error: Exception) -> Response:
    if not _wants_page(request):
        return JSONResponse({"detail": str(error)}, 401, {"WWW-Authenticate": "Bearer"})
    back = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    login = f"{request.scope.get('app_root_path', '')}/api/v2/auth/login?next={quote(back, safe='')}"
    return RedirectResponse(login, 302)


def _told(request: Request, status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    if _is_api(request):
        return JSONResponse({"detail": text}, status, headers)
    return PlainTextResponse(text, status, headers)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _told(request, error.status_code, str(error.detail), error.headers)


def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = [f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors()]
    return _told(request, 422, "; ".join(problems)[:500])


def _not_there(request: Request, error: Exception) -> Response:
    return _told(request, 404, str(error))


def _unavailable(request: Request, error: Exception) -> Response:
    """The reason for the operator goes to the log; the reader learns what is away."""
    log.warning("%s: %s: %s", request.url.path, type(error).__name__, error)
    if isinstance(error, SchemaMissing):
        text = "The database of Kryss has no schema yet, or an older one. A refresh brings it up to date."
    elif isinstance(error, StoreError):
        text = "The database of Kryss does not answer. ./kryss doctor tells what is wrong; try again in a moment."
    elif isinstance(error, ConfigError):
        text = "A setting of Kryss cannot be used. The log of the api-server names it."
    else:
        text = f"{error}. Try again in a moment."
    return _told(request, 503, text, {"Retry-After": "10"})


def _unexpected(request: Request, error: Exception) -> Response:
    return _told(request, 500, "Kryss could not answer. The log of the api-server tells why.")


TROUBLE: Mapping[type[Exception], Callable[[Request, Exception], Response]] = {
    NotSignedIn: _not_signed_in,
    HTTPException: _http,
    RequestValidationError: _invalid,
    NotPublished: _not_there,
    verdicts.NotInRelease: _not_there,
    evidence.NoCrop: _not_there,
    Unreadable: _unavailable,
    StoreError: _unavailable,
    ConfigError: _unavailable,
    Exception: _unexpected,
}


class Headers:
    """ASGI: what every answer carries, and no body that is larger than any that is needed."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def told(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                kind = next((value for name, value in message["headers"] if name.lower() == b"content-type"), b"")
                policy = "frame-ancestors 'self'" if kind.startswith(b"text/html") else INERT
                more = {
                    b"x-content-type-options": b"nosniff",
                    b"referrer-policy": b"same-origin",
                    b"cross-origin-resource-policy": b"same-origin",
                    b"content-security-policy": policy.encode(),
                    b"cache-control": b"no-store",
                }
                message["headers"] = [*message["headers"], *((k, v) for k, v in more.items() if k not in given)]
            await send(message)

        headers = dict(scope["headers"])
        length = headers.get(b"content-length", b"0")
        if b"transfer-encoding" in headers or not length.isdigit() or int(length) > MAX_BODY:
            await JSONResponse({"detail": f"at most {MAX_BODY} bytes are read"}, 413)(scope, receive, told)
            return
        await self._app(scope, receive, told)


# -- pages ------------------------------------------------------------------------------------------------------------------


def home(request: Request, user: User) -> Response:
    """The municipalities that the user may see."""
    return _page(request, "home", {})


def layer(town: Town) -> Response:
    """To the page of the current release."""
    return RedirectResponse(f"{published(town).latest()['release']}/index.html", 302)


def latest(town: Town) -> Response:
    return Response(published(town).latest_bytes(), media_type=TYPES["json"], headers={"Cache-Control": ASK_AGAIN})


def file(request: Request, town: Town, release: str, name: str) -> Response:
    """A file of a release, as it was published; its page with the way to the evidence put in."""
    shelf = published(town)
    if name == "index.html":
        return _release_page(request, town, shelf, release)
    packed = False
    accepted = request.headers.get("accept-encoding", "")
    if re.search(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\b)", accepted) and f"{name}.gz" in shelf.manifest(release).files:
        body, _ = shelf.open(release, f"{name}.gz")
        entry, packed = shelf.manifest(release).files.get(name), True
        if entry is None:
            body.close()
            raise NotPublished(f"release {release} has no file {name[:80]!r}")
    else:
        body, entry = shelf.open(release, name)
    # A demo begins anew under the names of before. "identity": the server of Airflow would pack again what is packed.
    keep = ASK_AGAIN if town.code.startswith("demo-") else FOREVER
    headers = {"Cache-Control": keep, "Vary": "Accept-Encoding", "Content-Encoding": "gzip" if packed else "identity"}
    headers["Content-Security-Policy"] = INERT  # a file called something.html, too: whoever writes to the storage names files
    if entry is not None:
        headers["ETag"] = f'"{entry.sha256}{"-gzip" if packed else ""}"'
        if request.headers.get("if-none-match") == headers["ETag"]:
            body.close()
            return Response(status_code=304, headers=headers)
    kind = TYPES.get(name.rsplit(".", 1)[-1], "application/octet-stream")
    return StreamingResponse(chunks(body), media_type=kind, headers=headers)


def _release_page(request: Request, town: MunicipalityConfig, shelf: Published, release: str) -> Response:
    """The page of a release, by the code of this checkout and the release's manifest.

    The script of the stored ``index.html`` is not run: who can write to the storage of releases is not thereby who may act as
    the reader in Airflow.
    """
    document = shelf.manifest(release).document
    if not str(document.get("schema_version", "")).startswith("2."):
        body, _ = shelf.open(release, "index.html")
        return StreamingResponse(
            chunks(body), media_type=TYPES["html"], headers={"Cache-Control": ASK_AGAIN, "Content-Security-Policy": OLD_PAGE}
        )
    with reading(f"the manifest of release {release}"):
        try:
            text = pages.page(document, document["counts"]["by_class"], getattr(town, "basemap_url", None)).decode()
        except (KeyError, TypeError):
            raise Unreadable(f"the manifest of release {release} is not one that Kryss writes") from None
    found = pages.SLOT.search(text)
    value = json.loads(text[found.end(1) : found.start(2)]) if found else {}
    return HTMLResponse(pages.slot(text, {**value, "api": _api(request)}), headers={"Cache-Control": ASK_AGAIN})


def report_page(request: Request, town: Town, run: str) -> Response:
    """The report of a run; ``latest`` is the newest."""
    if run == "latest":
        newest = runs.reports(settings().state_url, town.code, 1)
        if not newest:
            raise NotPublished(f"no run of {town.code} has ended yet")
        return RedirectResponse(newest[0]["run"], 302)
    runs.report(settings().state_url, town.code, run)
    return _page(request, "report", {"code": town.code, "municipality": town.name, "run": run})


def qa_page(request: Request, town: Town) -> Response:
    try:
        shelf = published(town)
        counts = shelf.manifest(shelf.latest()["release"]).document.get("counts") or {}
        signs = pages.signs(counts.get("by_class") or {})
    except (NotPublished, Unreadable):  # the page asks again, and says what it is told
        signs = {}
    return _page(request, "qa", {"code": town.code, "municipality": town.name, "signs": signs})


# -- data -------------------------------------------------------------------------------------------------------------------


def towns(user: User) -> Any:
    """What the home page lists. A municipality whose releases cannot be read says so, and hides no other."""
    shown = [town for town in municipalities().values() if _may(user, town.code, "GET")]
    with ThreadPoolExecutor(8) as pool:
        return {"municipalities": list(pool.map(_town, shown))}


def _town(town: MunicipalityConfig) -> dict[str, Any]:
    told: dict[str, Any] = {"code": town.code, "name": town.name, "country": town.country, "schedule": town.schedule}
    problems = []
    try:
        shelf = published(town)
        release = shelf.latest()["release"]
        document = shelf.manifest(release).document
        told["release"] = {
            name: document.get(name)
            for name in ("release", "counts", "changes", "photos", "photos_until", "previous", "schema_version")
        }
    except NotPublished:
        told["release"] = None
    except Unreadable as error:
        problems.append(str(error))
    try:
        told["runs"] = runs.reports(settings().state_url, town.code, 1)
    except (NotPublished, Unreadable) as error:
        problems.append(str(error))
    return {**told, "problems": problems}


def object_evidence(request: Request, town: Town, object_id: str) -> Any:
    """The sightings that an object was made from, the nearest first, with crops where photos are kept; and what missed it."""
    if not evidence.is_object_id(object_id):
        raise NotPublished(f"{object_id[:40]!r} is no object; their ids are UUIDs")
    with database.transaction() as connection:
        found = evidence.evidence(connection, town.code, object_id, town.image_url)
    if found is None:
        raise NotPublished(f"{town.code} has no object {object_id}")
    kept = _kept([one["image_key"] for one in found["sightings"][:CHECKED_PHOTOS] if one["box"]])
    for one in found["sightings"]:
        box = ",".join(f"{edge:g}" for edge in one["box"] or ())
        there = one["image_key"] in kept
        one["crop"] = f"{_api(request)}/{quote(town.code)}/photos/{one['image_key']}/crop?box={box}" if there and box else None
    return found


def _kept(image_ids: list[str]) -> set[str]:
    """Those of these photos that are in the photo store; none where it does not answer: a page without crops is still one."""
    wanted = sorted({image_id for image_id in image_ids if re.fullmatch(r"[0-9]{1,24}", image_id)})
    try:
        with reading("the photo store"):
            store = PhotoStore(settings().photos_url)
            with ThreadPoolExecutor(8) as pool:
                return {image_id for image_id, there in zip(wanted, pool.map(store.has, wanted), strict=True) if there}
    except (NotPublished, Unreadable) as error:
        log.warning("%s", error)
        return set()


def crop(town: Town, image_id: str, box: Annotated[str, Query(max_length=100)]) -> Response:
    """The box in its surroundings, as a JPEG. Only of photos that this municipality knows."""
    edges = evidence.parse_box(box)
    if not re.fullmatch(r"[0-9]{1,24}", image_id):
        raise evidence.NoCrop("ids of photos are digits")
    with database.transaction() as connection:
        size = evidence.photo_size(connection, town.code, image_id)
    if size is None:
        raise evidence.NoCrop(f"{town.code} has no photo {image_id}")
    with reading(f"photo {image_id}"):
        body = PhotoStore(settings().photos_url).read(image_id)
    picture = evidence.crop(body, edges, size)
    return Response(
        picture, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=300", "Content-Encoding": "identity"}
    )


def reports(town: Town) -> Any:
    """The runs that have ended, newest first."""
    return {"runs": runs.reports(settings().state_url, town.code)}


def report(town: Town, run: str) -> Any:
    """The report of a run, as it was kept."""
    return runs.report(settings().state_url, town.code, run)


Status = Literal["standing", "unconfirmed"]


def _release_of(town: MunicipalityConfig, release: str, connection: Connection) -> str:
    """The name of a release that can be judged; ``latest`` is the current one."""
    name = str(published(town).latest()["release"]) if release == "latest" else release
    if name not in verdicts.recorded_releases(connection, town.code):
        raise NotPublished(f"the database has recorded no release {name[:40]!r} of {town.code}")
    return name


def qa_objects(
    town: Town,
    user: User,
    release: str,
    status: Status = "standing",
    class_name: Annotated[str | None, Query(alias="class", max_length=200)] = None,
    seed: Annotated[str | None, Query(max_length=100)] = None,
    most: Annotated[int, Query(ge=1, le=50)] = 10,
) -> Any:
    """Objects that this user has not judged, in the order of the sample."""
    with database.transaction() as connection:
        name = _release_of(town, release, connection)
        found = verdicts.next_objects(
            connection, town.code, name, user.get_name(), status=status, class_name=class_name, seed=seed, most=most
        )
    return {
        "release": name,
        "judge": user.get_name(),
        "may_judge": may_judge(user, town.code),
        "objects": [_told_object(one) for one in found],
    }


def _told_object(found: Mapping[str, Any]) -> dict[str, Any]:
    digits = {"lon": 7, "lat": 7, "standing_probability": 4, "error_radius_m": 2, "height_m": 2, "facing_deg": 1}
    told = {
        name: (round(value, digits[name]) if name in digits and value is not None else value) for name, value in found.items()
    }
    told["class"] = told.pop("class_name")
    told["model"] = told.pop("model_key")
    return told


def qa_precision(town: Town, user: User, release: str, status: Status = "standing") -> Any:
    """Precision by class and over all, with confidence intervals, from all verdicts that hold for the release."""
    with database.transaction() as connection:
        name = _release_of(town, release, connection)
        judged = verdicts.judgements(connection, town.code, name, status)
        population = verdicts.population(connection, town.code, name, status)
        waiting = verdicts.waiting(connection, town.code, name, status)
    told = quality.precision(judged, population, waiting)
    return {"code": town.code, "release": name, "status": status, "judge": user.get_name(), **told}


class GivenVerdict(BaseModel):
    """What a person said of an object."""

    model_config = ConfigDict(extra="forbid")
    verdict: verdicts.Verdict
    note: Annotated[str | None, Field(max_length=verdicts.MAX_NOTE)] = None


def _object(object_id: str) -> str:
    if not evidence.is_object_id(object_id):
        raise NotPublished(f"{object_id[:40]!r} is no object; their ids are UUIDs")
    return object_id


def judge(
    town: Annotated[MunicipalityConfig, Depends(judging)], user: User, release: str, object_id: str, given: GivenVerdict
) -> Any:
    """Keeps the user's verdict on an object of a release; the same again changes nothing."""
    if "\x00" in (given.note or ""):
        raise HTTPException(422, "a note holds no NUL")
    with database.transaction() as connection:
        name = _release_of(town, release, connection)
        class_name = verdicts.record(connection, town.code, name, _object(object_id), given.verdict, user.get_name(), given.note)
    return {"release": name, "object_id": object_id, "class": class_name, "verdict": given.verdict}


def take_back(town: Annotated[MunicipalityConfig, Depends(judging)], user: User, release: str, object_id: str) -> Any:
    """Removes the user's verdict."""
    with database.transaction() as connection:
        name = _release_of(town, release, connection)
        removed = verdicts.take_back(connection, town.code, name, _object(object_id), user.get_name())
    return {"release": name, "object_id": object_id, "removed": removed}


ROUTES: tuple[tuple[str, str, Callable[..., Any]], ...] = (
    ("GET", "/", home),
    ("GET", "/layer/{code}/", layer),
    ("GET", f"/layer/{{code}}/{LATEST}", latest),
    ("GET", "/layer/{code}/{release}/{name}", file),
    ("GET", "/report/{code}/{run}", report_page),
    ("GET", "/qa/{code}", qa_page),
    ("GET", "/api/municipalities", towns),
    ("GET", "/api/{code}/objects/{object_id}/evidence", object_evidence),
    ("GET", "/api/{code}/photos/{image_id}/crop", crop),
    ("GET", "/api/{code}/reports", reports),
    ("GET", "/api/{code}/reports/{run}", report),
    ("GET", "/api/{code}/qa/{release}/objects", qa_objects),
    ("GET", "/api/{code}/qa/{release}/precision", qa_precision),
    ("PUT", "/api/{code}/qa/{release}/verdicts/{object_id}", judge),
    ("DELETE", "/api/{code}/qa/{release}/verdicts/{object_id}", take_back),
)


def make_app() -> FastAPI:
    """The application that Airflow mounts at ``/kryss``. It has no route that needs no user."""
    app = FastAPI(title="Kryss", docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    for method, path, handler in ROUTES:
        app.add_api_route(path, handler, methods=[method], response_model=None)
    for kind, handler in TROUBLE.items():
        app.add_exception_handler(kind, handler)
    app.add_middleware(Headers)
    return app

"""The publish stage: brings what the filter released, and the logs, to the job's stores. The manifest makes it visible, all or nothing."""

import hashlib
import json
import os
from collections.abc import Sequence

from c2d.contract import Manifest, ManifestEntry, PublishAnswer, PublishInput, StoreCids, StoredFile, StoresAnswer, is_admin_log
from c2d.shared.records import JsonObject
from c2d_stages.common.log import StageLog
from c2d_stages.common.stage import Paths, StageError
from c2d_stages.publish.collect import collect, content_type
from c2d_stages.publish.content import digest_of
from c2d_stages.publish.encryption import Encryption
from c2d_stages.publish.store import Item, Location, Run, Store, store_at


def work(stage_json: JsonObject, paths: Paths, log: StageLog) -> PublishAnswer:
    stage_input = PublishInput.from_json(stage_json)
    store = store_at(stage_input.store, "store", paths)
    admin_store = store_at(stage_input.adminLogs, "adminLogs", paths) if stage_input.adminLogs else store
    encryption = Encryption(stage_input.encryption) if stage_input.encryption else None
    earlier = store.published(stage_input.job, encryption.opened if encryption else bytes)
    if earlier is not None:
        log.line("already published")
        return _answer(earlier, Manifest.from_json(json.loads(earlier)))
    run = Run(stage_input.job, stage_input.limits, log)
    complete = False
    data = os.open(paths.data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        items, withheld = collect(stage_input.release == "filtered", stage_input.limits.logBytes, data, log)
        if encryption:
            items = [encryption.item(index, item) for index, item in enumerate(items)]
        run.progress.begin(sum(item.content.size for item in items))
        locations = _put(items, store, admin_store, run)
        entries = [entry(index, item, locations.get(item.path, Location())) for index, item in enumerate(items)]
        manifest = Manifest(job=stage_input.job, files=tuple(entries), withheld=withheld)
        text = json.dumps(manifest.to_json(), ensure_ascii=False).encode()
        store.commit(encryption.manifest(text) if encryption else text, run)
        complete = True
        return _answer(text, manifest, StoresAnswer(results=store.cids(), adminLogs=admin_store.cids()))
    except OSError as error:
        raise StageError(f"store: the results cannot be written ({error.strerror})", "store") from None
    finally:
        os.close(data)
        if not complete:
            store.abort()


def _put(items: Sequence[Item], store: Store, admin_store: Store, run: Run) -> dict[str, Location]:
    """Send every file to its store."""
    if admin_store is store:
        return store.put(items, run)
    locations = admin_store.put([item for item in items if is_admin_log(item.type)], run)
    return locations | store.put([item for item in items if not is_admin_log(item.type)], run)


def entry(index: int, item: Item, location: Location) -> ManifestEntry:
    """A file's line in the manifest."""
    stored = StoredFile(path=item.path, size=item.content.size, sha256=digest_of(item.content)) if item.encrypted else None
    return ManifestEntry(
        index=index,
        path=item.name,
        filename=item.name.split("/", 2)[2],
        size=item.size,
        sha256=item.sha256,
        type=item.type,
        contentType=content_type(item.name),
        encrypted=item.encrypted,
        stored=stored,
        url=location.url,
        etag=location.etag,
        cid=location.cid,
    )


def _answer(text: bytes, manifest: Manifest, stores: StoresAnswer | None = None) -> PublishAnswer:
    if stores == StoresAnswer(results=StoreCids(), adminLogs=StoreCids()):
        stores = None
    size = sum(file.size for file in manifest.files)
    return PublishAnswer(files=len(manifest.files), bytes=size, manifestSha256=hashlib.sha256(text).hexdigest(), stores=stores)

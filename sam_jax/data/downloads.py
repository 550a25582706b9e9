"""Archives: their checksums, and their download through TensorFlow Datasets (TFDS).

TFDS's catalogue cannot prepare images without TensorFlow, so the project brings a builder of its
own: TFDS fetches, checks and stores; `formats` reads. TFDS is imported only when a download is
about to happen: a machine that has the data needs no TFDS.
"""

import contextlib
import functools
import hashlib
import io
import os
import pathlib
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from sam_jax.data import formats
from sam_jax.data.catalogue import Archive, Spec
from sam_jax.inputs import SPLITS


def digest(path: str | os.PathLike) -> str:
    """The file's SHA-256 in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: str | os.PathLike, archive: Archive, where: object = None) -> None:
    """Raises ValueError, about `where` or else the path, if the file is not the archive's bytes, zipped or not."""
    where = where or path
    remedy = f"fetch {archive.url} again and keep it as {archive.file_name}"
    unzipped = pathlib.Path(path).name in archive.names()[1:]
    size = os.path.getsize(path)
    if not unzipped and size != archive.size:
        raise formats.fault(where, f"{archive.size} bytes", f"{size}", remedy)
    expected = archive.unzipped if unzipped else archive.sha256
    if (found := digest(path)) != expected:
        raise formats.fault(where, f"sha256 {expected}", found, remedy)


def _problem(url: str, timeout: float) -> str | None:
    """Why the URL cannot be had now; None if it can. Honours http_proxy, https_proxy, no_proxy."""
    request = urllib.request.Request(url, headers={"User-Agent": "sam_jax"})
    try:
        # An opener of its own: urlopen's global one keeps the proxies of the first call.
        with urllib.request.build_opener().open(request, timeout=timeout):
            return None  # the body stays unread: TFDS fetches it
    except urllib.error.HTTPError as error:
        error.close()
        return f"HTTP {error.code}"
    except urllib.error.URLError as error:
        return str(error.reason)
    except OSError as error:
        return str(error)


def look(archives: Sequence[Archive], timeout: float = 6.0) -> str | None:
    """The first problem in reaching the archives' URLs, found in `timeout` seconds; None if none.

    TFDS itself would try for minutes. Threads, because a name look-up knows no timeout.
    """
    answers: dict[str, str | None] = {}

    def ask(url: str) -> None:
        answers[url] = _problem(url, timeout)

    threads = [threading.Thread(target=ask, args=(archive.url,), daemon=True) for archive in archives]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + timeout
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    silence = f"no answer within {timeout:g} s"
    problems = (answers.get(archive.url, silence) for archive in archives)
    return next((problem for problem in problems if problem is not None), None)


def _unavailable(spec: Spec, archives: Sequence[Archive], folder: object, why: str) -> str:
    files = ", ".join(f"{archive.file_name} from {archive.url}" for archive in archives)
    why = " ".join(why.split())  # one line, whatever other people's errors look like
    return f"{spec.name}: cannot download ({why}); put into {folder}: {files}"


def download(
    spec: Spec,
    present: Mapping[str, pathlib.Path],
    folder: pathlib.Path,
    read: Callable[[Sequence[pathlib.Path]], formats.Arrays],
) -> formats.Arrays:
    """Fetches the archives of `spec` that are not `present`, and returns what `read` makes of all.

    present: verified archives by file name. read: their paths, in the order of `spec.archives`, to
    the arrays of `formats`. TFDS works in a temporary folder inside `folder`, removed at the end.

    Raises ConnectionError (the URLs cannot be reached, or the transfer broke), ImportError (no
    TFDS) and ValueError (wrong checksum, or what `read` raises), each in one line.
    """
    missing = [archive for archive in spec.archives if archive.file_name not in present]
    if problem := look(missing):
        raise ConnectionError(_unavailable(spec, missing, folder, problem))
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        why = f"tensorflow-datasets is not installed: {error}"
        raise ImportError(_unavailable(spec, missing, folder, why)) from error
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{spec.name}.", dir=folder) as scratch:
        builder = make_builder(spec, present, read)(data_dir=scratch, file_format="array_record")
        try:
            # TFDS prints that the data lie in `scratch`; its progress bars (stderr) stay.
            with contextlib.redirect_stdout(io.StringIO()):
                builder.download_and_prepare(
                    download_dir=os.path.join(scratch, "downloads"),
                    download_config=tfds.download.DownloadConfig(try_download_gcs=False),
                )
        except tfds.download.DownloadError as error:
            raise ConnectionError(_unavailable(spec, missing, folder, str(error))) from error
        except tfds.download.download_manager.NonMatchingChecksumError as error:
            why = str(error).partition("To debug")[0]
            raise ValueError(_unavailable(spec, missing, folder, why)) from error
        except OSError as error:
            if error.errno is not None:
                raise  # a full disk, a folder without write permission
            # What `requests` raises when a transfer breaks: an OSError without a number.
            raise ConnectionError(_unavailable(spec, missing, folder, str(error))) from error
        return _arrays(builder)


def make_builder(
    spec: Spec,
    present: Mapping[str, pathlib.Path],
    read: Callable[[Sequence[pathlib.Path]], formats.Arrays],
) -> type:
    """A TFDS builder class for `spec`; see `download` for the arguments."""
    import tensorflow_datasets as tfds

    sums = {
        archive.url: tfds.download.checksums.UrlInfo(archive.size, archive.sha256, archive.file_name)
        for archive in spec.archives
    }

    class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
        """Images as bytes (a PNG encoder would need TensorFlow), in their publisher's order."""

        name = spec.name
        VERSION = tfds.core.Version("1.0.0")
        url_infos = sums

        @classmethod
        def _get_pkg_dir_path(cls):
            raise NotImplementedError  # the builder is no package with metadata files of its own

        def _info(self):
            labels = () if spec.task == "single-label" else (spec.classes,)
            bytes_of = functools.partial(tfds.features.Tensor, dtype=np.uint8, encoding=tfds.features.Encoding.BYTES)
            features = {"image": bytes_of(shape=spec.shape), "label": bytes_of(shape=labels)}
            return tfds.core.DatasetInfo(
                builder=self,
                description=f"{spec.title}. Licence: {spec.licence}.",
                features=tfds.features.FeaturesDict(features),
                citation=spec.citation,
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            paths = [present.get(archive.file_name) or self._fetch(dl_manager, archive) for archive in spec.archives]
            arrays = read(paths)
            splits = [split for split in SPLITS if f"{split}_images" in arrays]
            return {
                split: self._generate_examples(arrays[f"{split}_images"], arrays[f"{split}_labels"]) for split in splits
            }

        def _fetch(self, dl_manager, archive):
            path = pathlib.Path(dl_manager.download(archive.url))
            verify(path, archive, where=archive.url)  # TFDS has checked it too, by its own rules
            return path

        def _generate_examples(self, images, labels):
            for index, (image, label) in enumerate(zip(images, labels, strict=True)):
                yield index, {"image": image, "label": label}

    return Builder


def _arrays(builder) -> formats.Arrays:
    """All examples of a prepared builder, in their order."""
    arrays: formats.Arrays = {}
    for split, source in builder.as_data_source().items():
        examples = source.__getitems__(range(len(source)))  # one call: far faster than a loop
        for key in ("image", "label"):
            arrays[f"{split}_{key}s"] = np.stack([example[key] for example in examples])
    return arrays

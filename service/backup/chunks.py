"""How a file is cut so that the next copy of it costs only what changed.

The unit of comparison is a page of 4 KiB, because that is what SQLite writes; the unit of storage is a chunk
of up to 16 pages, because single pages compress badly and are many. A page that an earlier copy holds is
pointed at where it lies; the others are packed into new chunks. A chunk of which less than half is still
pointed at is given up, and what was left of it is packed anew. Figures: docs/backup-format.md.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from service.backup.model import ChunkRef, Run

PAGE_BYTES: Final = 4096
CHUNK_PAGES: Final = 16

Place = tuple[str, int]  # id of a chunk, page in it


@dataclass(frozen=True, slots=True)
class Held:
    """Where the pages of the last copy lie: by each page's name its place, by each chunk's id its pages."""

    places: Mapping[bytes, Place]
    sizes: Mapping[str, int]

    @classmethod
    def of(cls, names: Sequence[bytes], chunks: Sequence[ChunkRef], runs: Sequence[Run]) -> "Held":
        """Of a copy whose pages have these names, in the file's order."""
        ids = [chunk.id for chunk in chunks]
        spots = ((ids[run.chunk], run.first + step) for run in runs for step in range(run.pages))
        return cls(
            places=dict(zip(names, spots, strict=True)),
            sizes={chunk.id: chunk.size_bytes // PAGE_BYTES for chunk in chunks},
        )

    def without(self, lost: Collection[str]) -> "Held":
        """The same as if these chunks had never been."""
        gone = set(lost)
        return Held(
            places={name: place for name, place in self.places.items() if place[0] not in gone},
            sizes={chunk: size for chunk, size in self.sizes.items() if chunk not in gone},
        )


NOTHING_HELD: Final = Held(places={}, sizes={})


@dataclass(frozen=True, slots=True)
class Layout:
    """A file as chunks and runs; of those chunks that are new, which pages of the file they are made of."""

    chunks: tuple[ChunkRef, ...]
    runs: tuple[Run, ...]
    fresh: Mapping[str, tuple[int, ...]]


def lay_out(names: Sequence[bytes], held: Held, chunk_id: Callable[[Sequence[int]], str]) -> Layout:
    """Lay out the pages with these names; `chunk_id` names a chunk made of the pages at these positions."""
    kept = _worth_keeping(names, held)
    places = {name: held.places[name] for name in kept}
    first_at = {name: at for at, name in reversed(list(enumerate(names))) if name not in kept}
    positions = sorted(first_at.values())
    sizes, fresh = dict(held.sizes), {}
    for start in range(0, len(positions), CHUNK_PAGES):
        pages = tuple(positions[start : start + CHUNK_PAGES])
        chunk = chunk_id(pages)
        fresh[chunk], sizes[chunk] = pages, len(pages)
        places.update({names[at]: (chunk, index) for index, at in enumerate(pages)})
    order: dict[str, int] = {}
    for name in names:
        order.setdefault(places[name][0], len(order))
    return Layout(
        chunks=tuple(ChunkRef(id=chunk, size_bytes=sizes[chunk] * PAGE_BYTES) for chunk in order),
        runs=tuple(_runs((order[chunk], index) for chunk, index in (places[name] for name in names))),
        fresh=fresh,
    )


def page_count(size_bytes: int) -> int:
    """How many pages a file of that size has."""
    return -(-size_bytes // PAGE_BYTES)


def _worth_keeping(names: Sequence[bytes], held: Held) -> set[bytes]:
    known = held.places.keys() & set(names)
    used = Counter(held.places[name][0] for name in known)
    return {name for name in known if 2 * used[held.places[name][0]] >= held.sizes[held.places[name][0]]}


def _runs(spots: Iterator[tuple[int, int]]) -> Iterator[Run]:
    chunk, first, pages = -1, 0, 0
    for next_chunk, index in spots:
        if (next_chunk, index) == (chunk, first + pages):
            pages += 1
            continue
        if pages:
            yield Run(chunk=chunk, first=first, pages=pages)
        chunk, first, pages = next_chunk, index, 1
    if pages:
        yield Run(chunk=chunk, first=first, pages=pages)

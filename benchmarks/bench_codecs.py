"""What a coding of chunks costs, on the volumes of a folder of case files: one JSON line a coding on stdout.

    python benchmarks/bench_codecs.py FOLDER_OF_CASE_FILES --clip 0 258
    python benchmarks/bench_codecs.py FOLDER_OF_CASE_FILES --others     # needs blosc2 beside fran

A coding is a Blosc-1 codec and level, a shuffle (`bytes` or `bits`), an edge of chunks, and a predictor: along each of
its axes a voxel is replaced by its difference from the one before, folded to an unsigned number. `fran` marks what case
files use. `bytes_per_voxel` counts image and label map, without HDF5's own. `read_cpu_ms` is the median of random
reads of a patch of both from memory, by a loop as fran's reader has it. `entropy_bits` of the header line is that of an
image's voxel, of its difference along x, and of its difference from the mean of its six neighbours, which bounds what
any coder can do that looks at neighbours. `--clip` clips images first, `--others` adds blosc2's .b2nd and plain HDF5.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise, product
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numcodecs import blosc
from numpy.typing import NDArray

from fran.io.casefile import CaseReader
from fran.io.chunked import LEVEL, TARGET_EDGE_VOX, chunk_shape

Volume = NDArray[Any]
Box = tuple[slice, slice, slice]
Read = Callable[[Box], Any]
SHUFFLES = {"bytes": blosc.SHUFFLE, "bits": blosc.BITSHUFFLE}


@dataclass(frozen=True)
class Coding:
    codec: str
    level: int
    shuffle: str
    edge: int
    predictor: tuple[int, ...] = ()

    def encode(self, chunk: Volume) -> bytes:
        residual = folded(differences(chunk, self.predictor)) if self.predictor and chunk.dtype == np.int16 else chunk
        raw: bytes = blosc.compress(residual, self.codec.encode(), self.level, SHUFFLES[self.shuffle], chunk.nbytes)
        return raw

    def decode(self, raw: bytes, out: Volume) -> None:
        blosc.decompress(raw, out)
        if self.predictor and out.dtype == np.int16:
            unfold(out)
            for axis in reversed(self.predictor):
                add_up(np.moveaxis(out, axis, 0))


FRAN = Coding("lz4", LEVEL, "bytes", TARGET_EDGE_VOX)
CODINGS = [
    FRAN,
    *(Coding("lz4", LEVEL, shuffle, edge) for shuffle, edge in (("bytes", 32), ("bits", 32), ("bits", 40))),
    *(Coding("zstd", 1, "bytes", edge) for edge in (24, 32, 40)),
    *(Coding("zstd", level, "bits", 32) for level in (1, 3)),
    *(Coding("lz4hc", level, "bytes", 40) for level in (1, 3, 5, 9)),
    Coding("lz4hc", 3, "bits", 40),
    *(Coding("lz4", LEVEL, "bytes", 40, axes) for axes in ((0,), (0, 1), (0, 1, 2))),
    *(Coding("lz4", LEVEL, "bits", 40, axes) for axes in ((0,), (0, 1))),
    *(Coding("zstd", 1, "bytes", 32, axes) for axes in ((0,), (0, 1))),
]


def differences(chunk: Volume, axes: Sequence[int]) -> Volume:
    for axis in axes:
        chunk = np.diff(chunk, axis=axis, prepend=np.zeros((), chunk.dtype))
    return chunk


def add_up(chunk: Volume) -> None:
    for before, after in pairwise(chunk):
        after += before


def folded(chunk: Volume) -> Volume:
    """0, -1, 1, -2, ... as 0, 1, 2, 3, ...: small differences have an empty high byte."""
    return np.ascontiguousarray((chunk << 1) ^ (chunk >> 15))


def unfold(chunk: Volume) -> None:
    sign = chunk & 1
    np.negative(sign, out=sign)
    unsigned = chunk.view(np.uint16)
    unsigned >>= 1
    chunk ^= sign


class Chunks:
    """A volume in memory, in coded chunks; chunks of the smallest value alone are left out, as in a case file."""

    def __init__(self, array: Volume, coding: Coding) -> None:
        self.coding, self.dtype, self.fill = coding, array.dtype, array.min()
        self.edges = chunk_shape(array.shape, coding.edge)
        self.coded: dict[tuple[int, ...], bytes] = {}
        for place in product(*(range(-(-n // e)) for n, e in zip(array.shape, self.edges, strict=True))):
            part = array[tuple(slice(i * e, (i + 1) * e) for i, e in zip(place, self.edges, strict=True))]
            chunk = np.full(self.edges, self.fill, array.dtype)
            chunk[tuple(slice(n) for n in part.shape)] = part
            if (chunk != self.fill).any():
                self.coded[place] = coding.encode(chunk)

    @property
    def bytes(self) -> int:
        return sum(map(len, self.coded.values()))

    def read(self, box: Box) -> Volume:
        out = np.full([s.stop - s.start for s in box], self.fill, self.dtype)
        scratch = np.empty(self.edges, self.dtype)
        places = [range(s.start // e, -(-s.stop // e)) for s, e in zip(box, self.edges, strict=True)]
        for place in product(*places):
            if place in self.coded:
                self.coding.decode(self.coded[place], scratch)
                overlaps = [overlap(*axis) for axis in zip(box, place, self.edges, strict=True)]
                out[tuple(to for to, _ in overlaps)] = scratch[tuple(of for _, of in overlaps)]
        return out


def overlap(box: slice, index: int, edge: int) -> tuple[slice, slice]:
    low, high = max(box.start, index * edge), min(box.stop, (index + 1) * edge)
    return slice(low - box.start, high - box.start), slice(low - index * edge, high - index * edge)


def boxes(shapes: Sequence[tuple[int, ...]], patch: int, reads: int) -> Iterator[tuple[int, Box]]:
    """The same places in random volumes for every coding."""
    rng = np.random.default_rng(0)
    for i in rng.integers(0, len(shapes), reads):
        low = [int(rng.integers(0, max(1, n - patch + 1))) for n in shapes[i]]
        x, y, z = (slice(a, min(a + patch, n)) for a, n in zip(low, shapes[i], strict=True))
        yield int(i), (x, y, z)


def read_ms(readers: Sequence[Read], places: Sequence[tuple[int, Box]]) -> float:
    spent = []
    for i, box in places:
        start = time.thread_time()
        readers[i](box)
        spent.append(1000 * (time.thread_time() - start))
    return round(median(spent), 3)


def entropy_bits(values: Volume) -> float:
    share = np.unique(values, return_counts=True)[1] / values.size
    return round(float(-(share * np.log2(share)).sum()), 2)


def entropies(image: Volume) -> dict[str, float]:
    wide = image.astype(np.int32)
    inner = wide[1:-1, 1:-1, 1:-1]
    around = sum(np.roll(wide, step, axis)[1:-1, 1:-1, 1:-1] for axis in range(3) for step in (1, -1))
    return {
        "voxel": entropy_bits(wide),
        "along_x": entropy_bits(np.diff(wide, axis=0)),
        "from_neighbours": entropy_bits(inner - np.rint(around / 6).astype(np.int32)),
    }


def b2nd(array: Volume, path: Path) -> tuple[int, Read]:
    import blosc2

    blosc2.set_nthreads(1)
    filters = [blosc2.Filter.NOFILTER] * 5 + [blosc2.Filter.SHUFFLE]
    params = {"codec": blosc2.Codec.LZ4, "clevel": LEVEL, "filters": filters, "nthreads": 1, "typesize": array.itemsize}
    chunks = tuple(min(128, n) for n in array.shape)
    blocks = tuple(min(32, n) for n in array.shape)
    blosc2.asarray(
        np.ascontiguousarray(array), urlpath=str(path), mode="w", chunks=chunks, blocks=blocks, cparams=params
    )
    stored = blosc2.open(str(path), mode="r", mmap_mode="r", dparams={"nthreads": 1})
    return path.stat().st_size, lambda box: stored[box]


def hdf5(array: Volume, path: Path) -> tuple[int, Read]:
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset("volume", data=array, chunks=tuple(min(64, n) for n in array.shape))
    stored = h5py.File(path, "r")["volume"]
    return path.stat().st_size, lambda box: stored[box]


def in_chunks(coding: Coding) -> Callable[[Volume, Path], tuple[int, Read]]:
    def store(array: Volume, _: Path) -> tuple[int, Read]:
        chunks = Chunks(array, coding)
        return chunks.bytes, chunks.read

    return store


def measure(
    store: Callable[[Volume, Path], tuple[int, Read]],
    volumes: Sequence[tuple[Volume, Volume]],
    places: Sequence[tuple[int, Box]],
    work: Path,
) -> dict[str, float]:
    n_voxels = sum(image.size for image, _ in volumes)
    start = time.thread_time()
    stored = [[store(a, work / f"{i}_{k}") for k, a in enumerate(pair)] for i, pair in enumerate(volumes)]
    spent = time.thread_time() - start
    size = sum(n for pair in stored for n, _ in pair)
    readers: list[Read] = [lambda box, pair=pair: [read(box) for _, read in pair] for pair in stored]  # type: ignore[misc]
    for i, box in places[:5]:
        for found, array in zip(readers[i](box), volumes[i], strict=True):
            np.testing.assert_array_equal(found, array[box])
    return {
        "bytes_per_voxel": round(size / n_voxels, 3),
        "read_cpu_ms": read_ms(readers, places),
        "write_cpu_ns_per_voxel": round(1e9 * spent / n_voxels, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--clip", type=int, nargs=2, metavar=("LOW", "HIGH"))
    parser.add_argument("--patch", type=int, default=96)
    parser.add_argument("--reads", type=int, default=100)
    parser.add_argument("--others", action="store_true")
    args = parser.parse_args()
    blosc.use_threads = False
    volumes = [CaseReader(path).read_all() for path in sorted(args.folder.glob("*.h5"))]
    if args.clip:
        volumes = [(np.clip(image, *args.clip), lm) for image, lm in volumes]
    places = list(boxes([image.shape for image, _ in volumes], args.patch, args.reads))
    print(json.dumps({"cases": len(volumes), "clip": args.clip, "entropy_bits": entropies(volumes[0][0])}), flush=True)
    trials: list[tuple[dict[str, object], Callable[[Volume, Path], tuple[int, Read]]]]
    trials = [(asdict(coding) | {"fran": coding == FRAN}, in_chunks(coding)) for coding in CODINGS]
    if args.others:
        trials += [({"codec": "blosc2 .b2nd"}, b2nd), ({"codec": "plain hdf5"}, hdf5)]
    with tempfile.TemporaryDirectory() as work:
        for name, store in trials:
            print(json.dumps(name | measure(store, volumes, places, Path(work))), flush=True)


if __name__ == "__main__":
    main()

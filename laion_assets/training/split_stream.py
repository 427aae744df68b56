"""A split of a release as a stream of rows, in an order that a seed fixes.

Row `n` of an epoch is computed from the seed, the epoch and `n` alone. So the order does not depend
on how many processes read it, and a stream goes on in the middle without reading what was before.
LanceDB's own `Permutation` does not carry this; docs/decisions/training-order.md says why.

What only `open_split` needs is imported there: the server of the workers imports this module.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from multiprocessing.context import get_spawning_popen
from multiprocessing.sharedctypes import RawValue
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from laion_assets.errors import LaionError
from laion_assets.training.near_train import PHASH, find_near_train
from laion_assets.training.released_table import (
    find_table,
    name_failures,
    open_release,
    open_version,
    read_removals,
)
from laion_assets.training.row_batch import IS_NULL, Row, RowBatch
from laion_assets.training.shuffled_order import shuffle_numbers

if TYPE_CHECKING:
    import lance
    import numpy as np
    import pyarrow as pa

    Numbers: TypeAlias = np.ndarray[Any, Any]

SPLITS = ("train", "validation", "test")
# Rows that are read at once where somebody asks for one after the other.
READ_ROWS = 256
_OFFSET = "_rowoffset"


@dataclass(frozen=True)
class Selection:
    """What a stream has, and in which order; a state fits only a stream with the same.

    Attributes:
        release: tag of the release.
        split: `train`, `validation` or `test`.
        seed: of the order.
        shuffle: whether there is one, or rows come as in the table.
        world: how many streams share the rows.
        row_count: rows of all of these streams.
        where: a condition that the rows fulfil.
        apart_from_train: whether pictures that look like one of `train` are left out.
    """

    release: str
    split: str
    seed: int
    shuffle: bool
    world: int
    row_count: int
    where: str | None
    apart_from_train: bool


class SplitStream:
    """The share of one process of the rows of a split.

    It is an iterable of dictionaries, and a sequence, as a `torch.utils.data.DataLoader` takes it.
    A whole pass, or `set_epoch`, leads to the next epoch, with its own order.

    Attributes:
        uri: the table.
        selection: what it has.
        columns: of each row.
        rank: which of the shares.
    """

    def __init__(
        self,
        dataset: lance.LanceDataset,
        selection: Selection,
        columns: Sequence[str],
        rank: int,
        offsets: Numbers,
    ) -> None:
        self.uri = str(dataset.uri)
        self.selection = selection
        self.columns = list(columns)
        self.rank = rank
        self._version = int(dataset.version)
        self._offsets = offsets
        # Shared with the workers of a DataLoader, which may outlive an epoch.
        self._epoch = RawValue("q", 0)
        self._position = 0
        self._start = 0
        self._pid = os.getpid()
        self._opened: lance.LanceDataset | None = dataset

    def __len__(self) -> int:
        return self.selection.row_count // self.selection.world

    def __getitem__(self, number: int) -> Row:
        (row,) = self.__getitems__([range(len(self))[number]])
        return row

    def __getitems__(self, numbers: Sequence[int]) -> RowBatch:
        """Returns rows by their numbers in this epoch; a DataLoader asks for a batch so.

        Raises:
            LaionError: the table cannot be read, or the process was forked from one that read it.
        """
        import numpy as np

        offsets = self._locate(np.asarray(numbers, np.uint64))
        # Rows that are read in the order of the table take half of the time.
        ascending = np.argsort(offsets)
        dataset = self._dataset
        with name_failures(self.uri):
            table = dataset.take(offsets[ascending], columns=self.columns)
        return RowBatch(table.take(np.argsort(ascending)))

    def __iter__(self) -> Iterator[Row]:
        for numbers in self.walk(READ_ROWS):
            for number, row in zip(numbers, self.__getitems__(numbers), strict=True):
                self._position = number + 1
                yield row

    def batches(self, size: int, *, drop_last: bool = False) -> Iterator[dict[str, Any]]:
        """Yields a pass as arrays, as `RowBatch.to_arrays` has them.

        Args:
            size: rows of a batch; the last one may have fewer.
            drop_last: leave such a last one out.
        """
        for numbers in self.walk(size, drop_last=drop_last):
            yield self.__getitems__(numbers).to_arrays()

    def walk(self, size: int, *, drop_last: bool = False) -> Iterator[range]:
        """Yields the numbers of the rows of a pass, batch by batch, from where it goes on.

        The state that `state_dict` returns is past those that were yielded.
        """
        plan = self.plan(size, drop_last=drop_last)
        self._position, self._start = self._start, 0
        for numbers in plan:
            self._position = numbers.stop
            yield numbers
        self.set_epoch(self.epoch + 1)

    def plan(self, size: int, *, drop_last: bool = False) -> list[range]:
        """Returns the numbers of the rows of the next pass, batch by batch."""
        end = len(self)
        starts = range(self._start, end - (size - 1 if drop_last else 0), size)
        return [range(start, min(start + size, end)) for start in starts]

    @property
    def epoch(self) -> int:
        """The number of the epoch, from 0."""
        return int(self._epoch.value)

    def set_epoch(self, epoch: int) -> None:
        """Goes to the beginning of an epoch, unless the stream is in it already."""
        if epoch != self.epoch:
            self._epoch.value = epoch
            self._position = self._start = 0

    def state_dict(self) -> dict[str, Any]:
        """Returns where the stream is, as plain values; JSON has all of them.

        It is the same for each rank, if all have read the same number of rows.
        """
        return {**asdict(self.selection), "epoch": self.epoch, "position": self._position}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Lets the next pass go on from a state.

        Raises:
            LaionError: it is the state of another stream.
        """
        own = asdict(self.selection)
        row_count = own.pop("row_count")
        for name, value in own.items():
            if state.get(name) != value:
                raise LaionError(
                    f"state: it is of a stream with {name} {state.get(name)!r}, and this one has "
                    f"{value!r}; open the split as it was opened then",
                    code="training-state-of-another",
                )
        if state["row_count"] != row_count:
            raise LaionError(
                f"state: the split had {state['row_count']:,} rows then and has {row_count:,} now, "
                "as when rows came onto the list of removals, so the order is another; begin epoch "
                f"{state['epoch']} again with `set_epoch({state['epoch']})`",
                code="training-state-other-rows",
            )
        self._epoch.value = state["epoch"]
        self._position = self._start = state["position"]

    def _locate(self, numbers: Numbers) -> Numbers:
        """Returns where in the table rows of this share are."""
        import numpy as np

        chosen = self.selection
        places = numbers * np.uint64(chosen.world) + np.uint64(self.rank)
        if chosen.shuffle:
            places = shuffle_numbers(places, chosen.row_count, chosen.seed, self.epoch)
        found: Numbers = self._offsets[places]
        return found

    @property
    def _dataset(self) -> lance.LanceDataset:
        if self._pid != os.getpid():
            raise LaionError(
                f"{self.uri}: this process was forked, which Lance does not survive; use "
                'make_loader, or multiprocessing_context="forkserver" of the DataLoader',
                code="training-forked",
            )
        if self._opened is None:
            self._opened = open_version(self.uri, self._version)
        return self._opened

    def __getstate__(self) -> dict[str, Any]:
        state = {**self.__dict__, "_opened": None}
        # Memory can be shared with a process that is being started, and else with nobody.
        if get_spawning_popen() is None:
            state["_epoch"] = self.epoch
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if isinstance(self._epoch, int):
            self._epoch = RawValue("q", self._epoch)
        self._pid = os.getpid()


def open_split(  # noqa: PLR0913 - what makes a stream another one stands here
    uri: str | Path,
    release: str,
    split: str,
    columns: Sequence[str],
    seed: int = 0,
    shuffle: bool = True,
    shard_of: tuple[int, int] = (0, 1),
    *,
    where: str | None = None,
    apart_from_train: bool = False,
) -> SplitStream:
    """Opens a split of a release as a stream of rows.

    Rows that are on the project's list of removals now are left out.

    Args:
        uri: a LanceDB database, a data folder, a published dataset, or a table (`….lance`), on this
            machine or `hf://datasets/…`.
        release: tag of the release.
        split: `train`, `validation` or `test`.
        columns: what each row has; nothing else is read.
        seed: of the order; each epoch has another one.
        shuffle: False for the order of the table.
        shard_of: rank and number of the processes that share the rows. Each gets the same number of
            rows: with a number that cannot be divided, some are left out, others in each epoch.
        where: a condition in SQL, as of a search; `picture_sha256 IS NOT NULL` is true where there
            is a picture.
        apart_from_train: leave out pictures of `validation` or `test` that look like one of
            `train`, which are at several addresses. A row without a picture stays.

    Raises:
        LaionError: there is no such table, release, split or column, the condition cannot be used,
            there are too few rows, or a subset from before the list of removals changed does not
            tell which of its rows are on it.
    """
    rank, world = shard_of
    if not 0 <= rank < world:
        raise LaionError(
            f"shard_of: {shard_of} is no rank and number of processes; pass (0, 4) to (3, 4)",
            code="training-rank",
        )
    dataset = open_release(find_table(str(uri)), release)
    _check_columns(dataset, [*columns, "split", *([PHASH] if apart_from_train else [])])
    only = _select_split(dataset, split, where)
    if apart_from_train and split == "train":
        raise LaionError(
            "apart_from_train: it is for validation and test; leave it out for train",
            code="training-apart-from-itself",
        )
    offsets = _find_offsets(dataset, only, apart_from_train=apart_from_train)
    count = len(offsets)
    selection = Selection(release, split, seed, shuffle, world, count, where, apart_from_train)
    if count < world:
        raise LaionError(
            f"{dataset.uri}: release {release} has {count} such rows of the split {split!r} for "
            f"{world} processes; take another condition, or fewer processes",
            code="training-too-few-rows",
        )
    return SplitStream(dataset, selection, columns, rank, offsets)


def _check_columns(dataset: lance.LanceDataset, columns: Sequence[str]) -> None:
    known = dataset.schema.names
    unknown = [name for name in columns if name not in known or name == IS_NULL]
    if unknown:
        raise LaionError(
            f"{dataset.uri}: no column {', '.join(unknown)}; it has {', '.join(known)}",
            code="training-column-unknown",
        )


def _select_split(dataset: lance.LanceDataset, split: str, where: str | None) -> str:
    """Returns the rows of a split that fulfil a condition, as a condition."""
    if split not in SPLITS:
        raise LaionError(
            f"split: {split!r} is none; take one of {', '.join(SPLITS)}", code="training-split"
        )
    if where is None:
        return f"split = '{split}'"
    from laion_assets.search.where import read_where

    return f"split = '{split}' AND {read_where(where, dataset)}"


def _find_offsets(dataset: lance.LanceDataset, only: str, *, apart_from_train: bool) -> Numbers:
    """Returns where the rows of a stream are, in the order of the table."""
    import numpy as np

    from laion_assets.subsets.subset_record import find_removed

    removed = find_removed(dataset, read_removals(str(dataset.uri)))
    columns = [_OFFSET, PHASH] if apart_from_train else [_OFFSET]
    with name_failures(str(dataset.uri)):
        found = dataset.to_table(columns, filter=only, with_row_id=len(removed) > 0)
        is_kept = np.ones(len(found), np.bool_)
        if len(removed):
            is_kept = ~np.isin(found["_rowid"].to_numpy(), removed)
        if apart_from_train:
            is_kept &= ~_is_near_train(dataset, found[PHASH])
    kind = np.uint32 if dataset.count_rows() < 1 << 32 else np.uint64
    offsets: Numbers = found[_OFFSET].to_numpy()[is_kept].astype(kind)
    return offsets


def _is_near_train(dataset: lance.LanceDataset, hashes: pa.ChunkedArray) -> Numbers:
    """Returns which of some pictures look like one of `train`; a row without one does not."""
    import numpy as np

    is_near: Numbers = hashes.is_valid().to_numpy().copy()
    is_near[is_near] = find_near_train(dataset, hashes.drop_null().to_numpy().view(np.uint64))
    return is_near

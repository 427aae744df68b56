"""A job of Ray that indexes captions in small parts, as a release does with billions of rows."""

import logging
import sys

from laion_assets.lance_images import indices
from laion_assets.settings import Settings
from laion_assets.stores.lance_store import LanceStore


def main() -> None:
    """Indexes the table of the settings in parts of so many rows."""
    logging.basicConfig(level=logging.INFO)
    indices.MAX_PART_ROWS = int(sys.argv[1])
    indices.WORKER_ROWS = indices.WORKERS = 1
    dataset = indices.update_indices(LanceStore.of(Settings.from_environment()), is_shared=True)
    (index,) = [index for index in dataset.describe_indices() if index.name == "caption_idx"]
    print("parts:", sorted(len(segment.fragment_ids) for segment in index.segments))


if __name__ == "__main__":
    main()

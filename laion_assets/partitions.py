"""The partitions: one for each shard. Nothing else belongs here.

The key of a shard is its file name without `.parquet`. The set is dynamic, because shards arrive
while the code runs: `laion discover` adds what `LAION_SHARDS` names.
"""

import dagster as dg

SHARDS_NAME = "shards"
SHARDS = dg.DynamicPartitionsDefinition(name=SHARDS_NAME)

-- Draws no progress bars into the logs of runs.
SET enable_progress_bar = false

-- Rows come in their order again, if it was left open.
RESET preserve_insertion_order

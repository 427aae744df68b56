-- In: {path} of a folder, quoted, for what does not fit into memory.
SET temp_directory = {path}

"""What a person does to the whole: status, backup, removal."""

-- Names without a database are those of `laion`.
USE laion

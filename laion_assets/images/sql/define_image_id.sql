-- Defines image_id(url, caption): the first 63 bits of the MD5 of the URL's length in bytes, a colon, URL and caption.
-- In Python: int(hashlib.md5(b'%d:%s%s' % (len(url), url, caption)).hexdigest()[:16], 16) >> 1, over UTF-8 bytes.
-- The length keeps ('ab', 'c') and ('a', 'bc') apart. This definition must never change.
CREATE OR REPLACE TEMP MACRO image_id(url, caption) AS
    (('0x' || left(md5(concat(strlen(url), ':', url, caption)), 16))::UBIGINT >> 1)::BIGINT

-- Defines is_blank(text): NULL, empty, or nothing but what Unicode calls white space.
CREATE OR REPLACE TEMP MACRO is_blank(text) AS
    CASE
        -- A letter, digit or ASCII sign in front, as nearly always, needs no regular expression.
        WHEN text >= '!' AND text < chr(127) THEN false
        ELSE text IS NULL OR regexp_full_match(text, '[\s\x0b\x1c-\x1f\x{85}\pZ]*')
    END

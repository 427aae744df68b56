-- Defines host_of_authority(authority): the host without user and port, lower case; NULL where urlsplit raises.
-- Refused: characters that NFKC turns into one of / ? # @ : (they could hide another host), a bracket without its
-- partner, and brackets that are not around the whole of an IPv6 address.
CREATE OR REPLACE TEMP MACRO host_of_authority(authority) AS
    CASE
        WHEN regexp_matches(authority, '[⁇⁈⁉℀℁℅℆⩴︓︖﹕﹖﹟﹫＃／：？＠]') THEN NULL
        WHEN contains(authority, '[') <> contains(authority, ']') THEN NULL
        ELSE list_transform([regexp_extract(authority, '[^@]*$')], lambda rest: host_of_host_and_port(rest))[1]
    END

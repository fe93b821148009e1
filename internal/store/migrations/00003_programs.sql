-- +goose Up
CREATE TABLE programs (
    name     TEXT NOT NULL,
    version  TEXT NOT NULL,          -- digest of the program, in hexadecimal
    number   BIGINT NOT NULL UNIQUE, -- in the order of the latest uploads
    program  BLOB NOT NULL,
    manifest TEXT NOT NULL,
    size     BIGINT NOT NULL,        -- bytes of the files
    uploaded BIGINT NOT NULL,        -- milliseconds since 1970
    uploader TEXT NOT NULL,
    PRIMARY KEY (name, version)
);

-- +goose Down
SELECT 1;

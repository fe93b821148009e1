-- +goose Up
CREATE TABLE credentials (
    name   TEXT PRIMARY KEY,
    sealed BLOB NOT NULL -- a set of credentials for object storage, encrypted
);

-- +goose Down
SELECT 1;

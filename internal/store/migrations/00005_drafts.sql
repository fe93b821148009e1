-- +goose Up
CREATE TABLE drafts ( -- submissions that may have left something where their output was to go
    execution TEXT PRIMARY KEY,
    output    TEXT NOT NULL
);

-- +goose Down
SELECT 1;

-- +goose Up
CREATE TABLE claims ( -- claims in storage that were made for an execution, or were about to be
    execution TEXT NOT NULL,
    word      TEXT NOT NULL, -- stands in the claim; of what a copy of this record claims, this record has none
    epoch     BIGINT NOT NULL, -- of the owner that made it
    PRIMARY KEY (execution, word)
);

-- +goose Down
SELECT 1;

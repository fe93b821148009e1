-- +goose Up
CREATE TABLE executions (
    id       TEXT PRIMARY KEY,
    number   BIGINT NOT NULL UNIQUE, -- in the order of submission
    key      TEXT UNIQUE,
    digest   BLOB NOT NULL,
    created  BIGINT NOT NULL,
    epoch    BIGINT NOT NULL,
    version  BIGINT NOT NULL,
    status   TEXT NOT NULL,
    settled  BOOLEAN NOT NULL,
    name     TEXT NOT NULL,
    program  TEXT NOT NULL,
    request  BLOB NOT NULL,
    choice   BLOB NOT NULL,
    listing  TEXT NOT NULL,
    document BLOB,
    core     BLOB,
    core_version BIGINT NOT NULL DEFAULT 0
);
CREATE TABLE journal (
    execution TEXT NOT NULL,
    version   BIGINT NOT NULL,
    records   BLOB NOT NULL,
    PRIMARY KEY (execution, version)
);
CREATE TABLE chunks (
    execution TEXT NOT NULL,
    stage     BIGINT NOT NULL,
    number    BIGINT NOT NULL,
    data      BLOB NOT NULL,
    PRIMARY KEY (execution, stage, number)
);
CREATE TABLE nodes (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    address     TEXT NOT NULL,
    incarnation BIGINT NOT NULL,
    slots       BIGINT NOT NULL,
    status      TEXT NOT NULL,
    since       BIGINT NOT NULL
);
CREATE UNIQUE INDEX nodes_by_name ON nodes (name) WHERE status <> 'lost';
CREATE TABLE facts (
    name  TEXT PRIMARY KEY,
    value BIGINT NOT NULL
);
INSERT INTO facts (name, value) VALUES ('epoch', 0);

-- +goose Down
SELECT 1;

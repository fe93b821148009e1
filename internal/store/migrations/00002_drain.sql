-- +goose Up
ALTER TABLE nodes ADD COLUMN draining BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE nodes ADD COLUMN evacuate_by BIGINT NOT NULL DEFAULT 0; -- milliseconds since 1970; 0: no time was given
ALTER TABLE nodes ADD COLUMN removed BOOLEAN NOT NULL DEFAULT FALSE;

-- +goose Down
SELECT 1;

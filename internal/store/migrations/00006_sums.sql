-- +goose Up
-- XXH3-64 of what is kept as bytes; NULL: it was written before there were sums.
ALTER TABLE executions ADD COLUMN entry_sum BIGINT; -- of request, choice and listing
ALTER TABLE executions ADD COLUMN core_sum BIGINT;
ALTER TABLE journal ADD COLUMN sum BIGINT;
ALTER TABLE chunks ADD COLUMN sum BIGINT;

-- +goose Down
SELECT 1;

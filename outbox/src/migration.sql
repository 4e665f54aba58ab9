-- The tables of eventstream-outbox. May be run again; all of it is there or is made.

CREATE TABLE IF NOT EXISTS eventstream_outbox (
    -- Drawn under the lock of the row's key, so that within a key it rises with the commits.
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- Which part of the outbox the key belongs to; a relay publishes whole parts.
    slot smallint NOT NULL,
    event_id text NOT NULL,
    topic text NOT NULL,
    key bytea NOT NULL,
    -- The envelope, as JSON.
    value text NOT NULL,
    -- The record's headers, as JSON; empty where there are none.
    headers text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Only where published rows are kept for a while.
    published_at timestamptz,
    -- Set where the row can never be published, with the reason.
    failed_at timestamptz,
    error text
)
-- Rows live for seconds: space is to be used again long before a fifth of a large table is dead.
WITH (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_cost_delay = 0);

CREATE INDEX IF NOT EXISTS eventstream_outbox_waiting
    ON eventstream_outbox (id) WHERE published_at IS NULL AND failed_at IS NULL;
CREATE INDEX IF NOT EXISTS eventstream_outbox_published
    ON eventstream_outbox (published_at) WHERE published_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS eventstream_outbox_failed
    ON eventstream_outbox (topic, key, id) WHERE failed_at IS NOT NULL;

-- Which relay publishes which part, and until when without renewing it.
CREATE TABLE IF NOT EXISTS eventstream_outbox_slot (
    slot smallint PRIMARY KEY,
    holder text,
    until timestamptz
);
INSERT INTO eventstream_outbox_slot (slot)
    SELECT generate_series(0, 63) ON CONFLICT DO NOTHING;

-- The relays that run, so that each takes its share of the parts.
CREATE TABLE IF NOT EXISTS eventstream_outbox_relay (
    relay text PRIMARY KEY,
    until timestamptz NOT NULL
);

-- The table of eventstream-inbox. May be run again; it is there or is made.

CREATE TABLE IF NOT EXISTS eventstream_inbox (
    group_id text NOT NULL,
    event_id text NOT NULL,
    handled_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (group_id, event_id)
);

-- For `retain`: rows come in this order, so a small index of their blocks is enough.
CREATE INDEX IF NOT EXISTS eventstream_inbox_handled
    ON eventstream_inbox USING brin (handled_at) WITH (pages_per_range = 16, autosummarize = on);

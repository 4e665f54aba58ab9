package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"
)

// Event has the fields of the envelope in the order in which Go services write them.
type Event struct {
	ID                string         `json:"id,omitempty"`
	Name              string         `json:"name,omitempty"`
	Namespace         string         `json:"namespace,omitempty"`
	ParentNamespace   string         `json:"parentNamespace,omitempty"`
	UnionNamespace    string         `json:"unionNamespace,omitempty"`
	ClientID          string         `json:"clientId,omitempty"`
	TraceID           string         `json:"traceId,omitempty"`
	SpanContext       string         `json:"spanContext,omitempty"`
	UserID            string         `json:"userId,omitempty"`
	SessionID         string         `json:"sessionId,omitempty"`
	Timestamp         string         `json:"timestamp,omitempty"`
	TimestampUnixNano int64          `json:"timestampUnixNano,omitempty"`
	Version           int            `json:"version,omitempty"`
	EventID           int            `json:"event_id,omitempty"`
	EventType         int            `json:"event_type,omitempty"`
	EventLevel        int            `json:"event_level,omitempty"`
	Service           string         `json:"service,omitempty"`
	ClientIDs         []string       `json:"client_ids,omitempty"`
	TargetUserIDs     []string       `json:"target_user_ids,omitempty"`
	TargetNamespace   string         `json:"target_namespace,omitempty"`
	Privacy           bool           `json:"privacy,omitempty"`
	Topic             string         `json:"topic,omitempty"`
	SourceNamespace   string         `json:"sourceNamespace,omitempty"`
	AdditionalFields  map[string]any `json:"additional_fields,omitempty"`
	Payload           map[string]any `json:"payload,omitempty"`

	// A consumer fills these from the record. They have no name of their own in JSON.
	Partition int    `json:",omitempty"`
	Offset    int64  `json:",omitempty"`
	Key       string `json:",omitempty"`
}

// decodeEvent reads an envelope as a Go consumer does: numbers of the payload become float64.
func decodeEvent(wire []byte) (*Event, error) {
	var event *Event
	if err := json.Unmarshal(wire, &event); err != nil {
		return nil, err
	}
	if event == nil {
		return nil, errors.New("the event is null")
	}
	return event, nil
}

// completeEvent reads the fields that a caller would set and adds what publishing adds. Numbers of the payload keep
// their digits, as they would from a Go struct with integer fields.
func completeEvent(fields []byte) (*Event, error) {
	decoder := json.NewDecoder(bytes.NewReader(fields))
	decoder.UseNumber()
	event := &Event{Version: 1}
	if err := decoder.Decode(event); err != nil {
		return nil, err
	}
	if event.ID == "" {
		event.ID = newID()
	}
	if event.Timestamp == "" {
		now := time.Now().UTC()
		event.Timestamp = now.Format(time.RFC3339)
		event.TimestampUnixNano = now.UnixNano()
	}
	return event, nil
}

// newID makes a random UUID (version 4) without hyphens.
func newID() string {
	var id [16]byte
	if _, err := rand.Read(id[:]); err != nil {
		panic(err)
	}
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return hex.EncodeToString(id[:])
}

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

// outgoing is a line of `produce`. A value that is a string is sent as its text, any other JSON as it stands.
type outgoing struct {
	Key   *string         `json:"key"`
	Value json.RawMessage `json:"value"`
}

type placed struct {
	Partition int32 `json:"partition"`
	Offset    int64 `json:"offset"`
}

func produce(output *bufio.Writer, o options) error {
	producer, err := kafka.NewProducer(o.settings(kafka.ConfigMap{
		"acks":        "all",
		"partitioner": "consistent_random",
	}))
	if err != nil {
		return err
	}
	defer producer.Close()
	// Unbounded waiting for reports: the lines of the answer keep the order of the lines of the question.
	var reports []chan kafka.Event
	err = eachLine(func(line []byte) error {
		message, err := o.message(line)
		if err != nil {
			return err
		}
		report := make(chan kafka.Event, 1)
		for err = producer.Produce(message, report); isFull(err); err = producer.Produce(message, report) {
			producer.Flush(10)
		}
		if err != nil {
			return err
		}
		reports = append(reports, report)
		return nil
	})
	if err != nil {
		return err
	}
	for _, report := range reports {
		message, ok := (<-report).(*kafka.Message)
		if !ok {
			return errors.New("a delivery report is not a message")
		}
		var answer any = placed{message.TopicPartition.Partition, int64(message.TopicPartition.Offset)}
		if message.TopicPartition.Error != nil {
			answer = failure{message.TopicPartition.Error.Error()}
		}
		if err = writeLine(output, answer); err != nil {
			return err
		}
	}
	return nil
}

func isFull(err error) bool {
	var failed kafka.Error
	return errors.As(err, &failed) && failed.Code() == kafka.ErrQueueFull
}

func (o options) message(line []byte) (*kafka.Message, error) {
	var read outgoing
	if err := json.Unmarshal(line, &read); err != nil {
		return nil, err
	}
	message := &kafka.Message{TopicPartition: kafka.TopicPartition{Topic: &o.topic, Partition: kafka.PartitionAny}}
	if read.Key != nil {
		message.Key = []byte(*read.Key)
	}
	switch {
	case len(read.Value) == 0 || bytes.Equal(read.Value, []byte("null")):
	case read.Value[0] == '"':
		var text string
		if err := json.Unmarshal(read.Value, &text); err != nil {
			return nil, err
		}
		message.Value = []byte(text)
	default:
		message.Value = read.Value
	}
	return message, nil
}

// incoming is a line of `consume` for a record.
type incoming struct {
	Partition int32    `json:"partition"`
	Offset    int64    `json:"offset"`
	Key       *string  `json:"key"`
	Value     *string  `json:"value"`
	Timestamp int64    `json:"timestamp"`
	Headers   []header `json:"headers"`
	// Nanoseconds since 1970: when its handling began and ended.
	Begun int64 `json:"begun"`
	Ended int64 `json:"ended"`
}

type header struct {
	Key   string  `json:"key"`
	Value *string `json:"value"`
}

// assignment is a line of `consume` for a rebalance.
type assignment struct {
	Assigned []int32 `json:"assigned,omitempty"`
	Revoked  []int32 `json:"revoked,omitempty"`
}

func consume(output *bufio.Writer, o options) error {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	consumer, err := kafka.NewConsumer(o.settings(kafka.ConfigMap{
		"group.id":          o.group,
		"auto.offset.reset": o.from,
		// An offset is stored when its record has been handled, and committed in the background, as in Go services.
		"enable.auto.offset.store": false,
		"auto.commit.interval.ms":  1000,
	}))
	if err != nil {
		return err
	}
	// Closing commits what is stored and leaves the group.
	defer consumer.Close()
	rebalanced := func(_ *kafka.Consumer, event kafka.Event) error {
		return report(output, event)
	}
	if err = consumer.Subscribe(o.topic, rebalanced); err != nil {
		return err
	}
	handled := 0
	lastRecord := time.Now()
	for o.count == 0 || handled < o.count {
		select {
		case <-stop:
			return nil
		default:
		}
		if o.idle > 0 && time.Since(lastRecord) > o.idle {
			return nil
		}
		switch event := consumer.Poll(50).(type) {
		case *kafka.Message:
			begun := time.Now()
			time.Sleep(o.delay)
			if err = handle(output, event, begun); err != nil {
				return err
			}
			// Fails when the partition was revoked meanwhile: its next owner reads the record again.
			_, _ = consumer.StoreMessage(event)
			handled++
			lastRecord = time.Now()
		case kafka.Error:
			if event.IsFatal() {
				return event
			}
		}
	}
	return nil
}

func handle(output *bufio.Writer, message *kafka.Message, begun time.Time) error {
	if message.TopicPartition.Error != nil {
		return message.TopicPartition.Error
	}
	line := incoming{
		Partition: message.TopicPartition.Partition,
		Offset:    int64(message.TopicPartition.Offset),
		Key:       text(message.Key),
		Value:     text(message.Value),
		Timestamp: message.Timestamp.UnixMilli(),
		Headers:   []header{},
		Begun:     begun.UnixNano(),
		Ended:     time.Now().UnixNano(),
	}
	for _, one := range message.Headers {
		line.Headers = append(line.Headers, header{one.Key, text(one.Value)})
	}
	if err := writeLine(output, line); err != nil {
		return err
	}
	return output.Flush()
}

func report(output *bufio.Writer, event kafka.Event) error {
	var line assignment
	switch event := event.(type) {
	case kafka.AssignedPartitions:
		line.Assigned = numbers(event.Partitions)
	case kafka.RevokedPartitions:
		line.Revoked = numbers(event.Partitions)
	}
	if err := writeLine(output, line); err != nil {
		return err
	}
	return output.Flush()
}

func numbers(partitions []kafka.TopicPartition) []int32 {
	all := make([]int32, 0, len(partitions))
	for _, partition := range partitions {
		all = append(all, partition.Partition)
	}
	return all
}

func text(bytes []byte) *string {
	if bytes == nil {
		return nil
	}
	text := string(bytes)
	return &text
}

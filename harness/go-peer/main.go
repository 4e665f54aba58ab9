// The peer that stands for services in Go: the same envelope through encoding/json, the same records through
// confluent-kafka-go. It reads one JSON value a line and writes one a line.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"
)

const usage = `usage: go-peer MODE [options]
  decode    envelopes on stdin, the decoded event or {"error":...} on stdout
  encode    fields of an event on stdin, the envelope or {"error":...} on stdout
  produce   -brokers B -topic T: {"key":...,"value":...} on stdin, {"partition":...,"offset":...} on stdout
  consume   -brokers B -topic T -group G [-count N] [-idle S] [-from earliest] [-delay D]: a line for each record
  produce and consume take -config name=value, any number of times, for librdkafka`

func main() {
	if len(os.Args) < 2 {
		fail(usage)
	}
	mode, arguments := os.Args[1], os.Args[2:]
	output := bufio.NewWriter(os.Stdout)
	defer output.Flush()
	var err error
	switch mode {
	case "decode":
		err = convert(output, decodeEvent)
	case "encode":
		err = convert(output, completeEvent)
	case "produce":
		err = produce(output, parse(mode, arguments))
	case "consume":
		err = consume(output, parse(mode, arguments))
	default:
		fail(usage)
	}
	if err != nil {
		output.Flush()
		fail(err.Error())
	}
}

func fail(message string) {
	fmt.Fprintln(os.Stderr, message)
	os.Exit(1)
}

// convert answers each line of stdin with one line.
func convert(output *bufio.Writer, read func([]byte) (*Event, error)) error {
	return eachLine(func(line []byte) error {
		var answer any
		event, err := read(line)
		if err != nil {
			answer = failure{err.Error()}
		} else {
			answer = event
		}
		return writeLine(output, answer)
	})
}

type failure struct {
	Error string `json:"error"`
}

func writeLine(output *bufio.Writer, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if _, err = output.Write(append(text, '\n')); err != nil {
		return err
	}
	return nil
}

func eachLine(handle func([]byte) error) error {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		if err := handle(lines.Bytes()); err != nil {
			return err
		}
	}
	return lines.Err()
}

// options of the modes that talk to Kafka.
type options struct {
	brokers, topic, group, from string
	count                       int
	idle, delay                 time.Duration
	config                      properties
}

type properties map[string]string

func (p properties) String() string { return "" }

func (p properties) Set(text string) error {
	name, value, found := strings.Cut(text, "=")
	if !found {
		return fmt.Errorf("%q is not name=value", text)
	}
	p[name] = value
	return nil
}

func parse(mode string, arguments []string) options {
	o := options{config: properties{}}
	flags := flag.NewFlagSet(mode, flag.ExitOnError)
	flags.StringVar(&o.brokers, "brokers", "", "host:port,host:port")
	flags.StringVar(&o.topic, "topic", "", "the whole topic name")
	flags.Var(o.config, "config", "a property of librdkafka, name=value")
	if mode == "consume" {
		flags.StringVar(&o.group, "group", "", "the whole group id")
		flags.StringVar(&o.from, "from", "earliest", "earliest or latest, where the group has no offset")
		flags.IntVar(&o.count, "count", 0, "end after so many records; 0: never")
		idle := flags.Float64("idle", 0, "end after so many seconds without a record; 0: never")
		delay := flags.Float64("delay", 0, "seconds to spend on each record")
		_ = flags.Parse(arguments)
		o.idle = seconds(*idle)
		o.delay = seconds(*delay)
	} else {
		_ = flags.Parse(arguments)
	}
	if o.brokers == "" || o.topic == "" || mode == "consume" && o.group == "" {
		fail(usage)
	}
	return o
}

func seconds(number float64) time.Duration {
	return time.Duration(number * float64(time.Second))
}

// settings puts what the caller gave over what the mode needs.
func (o options) settings(own kafka.ConfigMap) *kafka.ConfigMap {
	own["bootstrap.servers"] = o.brokers
	for name, value := range o.config {
		own[name] = value
	}
	return &own
}

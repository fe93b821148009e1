package main

import (
	"strings"

	"github.com/spf13/cobra"

	"stint"
	"stint/internal/runner/command"
	"stint/internal/shuffle"
)

// streamFlags are the flags of run that say how commands read and write records.
type streamFlags struct {
	mode, partitioner string
	properties        []string
}

func (s *streamFlags) define(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&s.mode, "mode", "", "how commands read and write records: lines (default), or hadoop: byte for byte as Hadoop Streaming")
	f.StringArrayVar(&s.properties, "stream", nil, "property=value by Hadoop's names, as stream.num.map.output.key.fields=2")
	f.StringVar(&s.partitioner, "partitioner", "", "what chooses the partition of a key: hash (default), fields, or Hadoop's class of that kind")
}

func (s *streamFlags) given() bool { return s.mode+s.partitioner != "" || len(s.properties) > 0 }

// apply puts the flags' values into a streaming program.
func (s *streamFlags) apply(p *stint.Program) error {
	mode := stint.StreamMode(s.mode)
	if mode != "" && mode != stint.StreamLines && mode != stint.StreamHadoop {
		return stint.Errorf(stint.Invalid, "--mode %.80q: expected lines or hadoop", s.mode)
	}
	properties, err := pairs("--stream", s.properties)
	if err != nil {
		return err
	}
	if s.partitioner != "" {
		const name = "mapreduce.job.partitioner.class"
		if _, twice := properties[name]; twice {
			return stint.Errorf(stint.Invalid, "--partitioner and --stream %s: give one of them", name)
		}
		properties[name] = classOf(s.partitioner)
	}
	if err := command.Properties(p, mode, properties); err != nil {
		return stint.Errorf(stint.Invalid, "--stream: %w", err)
	}
	for i := range p.Stages {
		if q := p.Stages[i].Input.Partitioner; q != nil {
			if _, err := shuffle.FieldPartitioner(q.Fields, q.Separator); err != nil {
				return stint.Errorf(stint.Invalid, "--stream: %w", err)
			}
		}
	}
	return nil
}

// classOf returns the class for a short name of a partitioner.
func classOf(partitioner string) string {
	switch strings.ToLower(partitioner) {
	case "hash":
		return "HashPartitioner"
	case "fields":
		return "KeyFieldBasedPartitioner"
	}
	return partitioner
}

// addReducer puts a reducer, and the combiner that it implies, behind the map stage.
func addReducer(p *stint.Program, text string) error {
	reduce, combine, err := command.Reducer(text)
	if err != nil {
		return stint.Errorf(stint.Invalid, "--reduce: %w", err)
	}
	if reduce == nil {
		p.Stages[0].Combine = nil
		return nil
	}
	if combine != nil {
		p.Stages[0].Combine = combine
	}
	p.Stages = append(p.Stages, stint.Stage{Name: "reduce", Action: *reduce, Input: stint.Edge{Kind: stint.Shuffle, From: "map"}})
	return nil
}

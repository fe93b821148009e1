package main

import (
	"maps"

	"github.com/spf13/cobra"

	"stint"
)

func (a *app) duplicateCommand() *cobra.Command {
	var r runFlags
	c := &cobra.Command{
		Use:   "duplicate ID",
		Short: "Perform what an execution performed once more, and wait for its end",
		Long: `Submit the request of an execution once more, changed as the flags say, and wait
for the end. What no flag names is as it was: program, files, input, parameters.
Values of --param and --env are added to those of the request or take their place,
and so are files, by their names.

An output location that was given with the request is not used again: give the
duplicate its own with --output, or the same and --overwrite.

` + exitHelp,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			id, err := stint.ParseExecutionID(args[0])
			if err == nil {
				err = checkApart(c, "dry-run", "detach")
			}
			if err != nil {
				return err
			}
			given, uploads, err := r.values(c)
			if err != nil {
				return err
			}
			return a.duplicate(c, id, &r, given, uploads)
		},
	}
	r.requestFlags.define(c)
	r.waitFlags.define(c)
	c.Flags().BoolVar(&r.dryRun, "dry-run", false, "say how it would be executed, and do not")
	return c
}

// duplicate submits the request of an execution once more, with the values that
// flags give in place of its own.
func (a *app) duplicate(c *cobra.Command, id stint.ExecutionID, r *runFlags, given stint.Request, uploads []upload) error {
	ctx, stop := interrupted(c.Context())
	defer stop()
	service, err := a.connect()
	if err != nil {
		return err
	}
	s := &session{Client: service}
	req, err := s.Request(ctx, id)
	if err == nil {
		req, err = r.changed(c, id, req, given, uploads)
	}
	if err != nil {
		return a.refused(ctx, s, "", err)
	}
	if r.dryRun {
		return a.planOn(ctx, s, r, req, uploads)
	}
	return a.submit(ctx, s, r, req, uploads)
}

// changed returns the request of an execution with what flags were given for.
func (r *requestFlags) changed(c *cobra.Command, id stint.ExecutionID, req, given stint.Request, uploads []upload) (stint.Request, error) {
	if req.Output != "" && given.Output == "" {
		return req, stint.Errorf(stint.Invalid, "%s has the output %s: give the duplicate its own with --output, or replace that with --output %s --overwrite",
			id, plainPath(req.Output), quoted(plainPath(req.Output)))
	}
	req.Output, req.Overwrite = given.Output, given.Overwrite // a leave to overwrite was for that output
	for name, change := range map[string]func(){
		"name":        func() { req.Name = given.Name },
		"nodes":       func() { req.Nodes = given.Nodes },
		"slots":       func() { req.Slots = given.Slots },
		"subset-size": func() { req.SubsetSize = given.SubsetSize },
		"partitions":  func() { req.Partitions = given.Partitions },
		"attempts":    func() { req.Attempts = given.Attempts },
		"compression": func() { req.Compression = given.Compression },
		"replication": func() { req.Replication = given.Replication },
		"save":        func() { req.Save = given.Save },
		"reuse":       func() { req.Reuse = given.Reuse },
		"keep":        func() { req.Keep = given.Keep },
		"backoff":     func() { req.Backoff = given.Backoff },

		"skip-bad-records": func() { req.SkipBadRecords = given.SkipBadRecords },

		"complete-as-much-as-possible": func() { req.CompleteErrors = given.CompleteErrors },
	} {
		if c.Flags().Changed(name) {
			change()
		}
	}
	req.Environment = merged(req.Environment, given.Environment)
	err := r.changeProgram(c, &req, given, uploads)
	if err == nil && c.Flags().Changed("input") {
		err = r.place(&req)
	}
	return req, err
}

func merged(m, over map[string]string) map[string]string {
	if m = maps.Clone(m); m == nil {
		m = make(map[string]string, len(over))
	}
	maps.Copy(m, over)
	return m
}

// changeProgram changes the commands, parameters, separation and files of a
// request's program.
func (r *requestFlags) changeProgram(c *cobra.Command, req *stint.Request, given stint.Request, uploads []upload) error {
	if len(given.Params) > 0 {
		if err := r.changeParams(c, req, given.Params); err != nil {
			return err
		}
	}
	if c.Flags().Changed("split") {
		r.separate(req.Program.Stages)
	}
	withFiles(&req.Program, uploads)
	return r.changeCommands(&req.Program)
}

// changeParams gives the program other parameters, which the stages of a shipped
// one may depend on.
func (*requestFlags) changeParams(c *cobra.Command, req *stint.Request, given map[string]string) error {
	if req.Program.Name == streamingName {
		return stint.Errorf(stint.Invalid, "--param goes with a program that declares parameters; a command gets its values by --env")
	}
	req.Params = merged(req.Params, given)
	program, ships, err := shippedProgram(req.Program.Name, req.Params)
	if err != nil {
		return err
	}
	if !ships {
		_, err := req.Program.CheckParams(req.Params)
		return err
	}
	if !c.Flags().Changed("split") {
		keepSplit(program.Stages, req.Program.Stages)
	}
	req.Program.Stages = program.Stages
	return nil
}

func keepSplit(stages, was []stint.Stage) {
	for i := range min(len(stages), len(was)) {
		if stages[i].Input.Kind == stint.FromInput {
			stages[i].Input.Split = was[i].Input.Split
		}
	}
}

// changeCommands puts the commands that flags give into a streaming program.
func (r *requestFlags) changeCommands(p *stint.Program) error {
	if r.streams.given() {
		return stint.Errorf(stint.Invalid, "--mode, --stream and --partitioner go with run: a duplicate reads and writes as its original")
	}
	if r.mapper+r.combiner+r.reducer == "" {
		return nil
	}
	if p.Name != streamingName {
		return stint.Errorf(stint.Invalid, "--map, --combine and --reduce change a program that was made of them; this one is %.80q", p.Name)
	}
	if r.reducer != "" && len(p.Stages) == 1 {
		p.Stages = append(p.Stages, stint.Stage{Name: "reduce", Input: stint.Edge{Kind: stint.Shuffle, From: "map"}})
	}
	if r.combiner != "" && len(p.Stages) == 1 {
		return stint.Errorf(stint.Invalid, "--combine without --reduce: there is nothing to combine for")
	}
	for _, change := range []struct {
		flag, text string
		take       func(*stint.Action)
	}{
		{"--map", r.mapper, func(a *stint.Action) { p.Stages[0].Action = *a }},
		{"--combine", r.combiner, func(a *stint.Action) { p.Stages[0].Combine = a }},
		{"--reduce", r.reducer, func(a *stint.Action) { p.Stages[1].Action = *a }},
	} {
		if change.text == "" {
			continue
		}
		a, err := action(change.flag, change.text)
		if err != nil {
			return err
		}
		change.take(a)
	}
	return nil
}

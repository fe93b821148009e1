package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"stint"
)

// The exit codes. Those of an execution's outcome come only from commands that
// wait for one.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitIncomplete  = 3
	exitSuspended   = 4
	exitUnreachable = 5
	exitInterrupted = 130 // the command was stopped by Ctrl-C, not what it waited for
)

const exitHelp = `Exit codes:
  0  completed, or done what was asked
  1  failed or terminated
  2  usage or bad input
  3  completed, with operations missing
  4  suspended
  5  service not reachable, or not allowed`

// outcome ends a command with an exit code that is not an error's.
type outcome int

func (o outcome) Error() string { return fmt.Sprintf("exit code %d", int(o)) }

// app is one run of the command line.
type app struct {
	out, errs io.Writer
	data      string // folder, as --data or STINT_DATA say, or the default
	home      string // the default
	server    string // URL of a service; empty: the one that owns the data folder
	token     string
	caFile    string // of the service at server; empty: that of the data folder, or the system's
}

func main() {
	a := &app{out: os.Stdout, errs: os.Stderr}
	os.Exit(a.run(context.Background(), os.Args[1:], os.Environ()))
}

// run runs one command and returns its exit code.
func (a *app) run(ctx context.Context, args, environ []string) int {
	root := a.root(args) //nolint:contextcheck // commands get it from cobra
	root.SetArgs(args)
	err := a.environment(environ)
	if err == nil {
		err = root.ExecuteContext(ctx)
	}
	var o outcome
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &o):
		return int(o)
	}
	a.say("stint: %s\n", err)
	return exitCode(err)
}

// say tells people something, on stderr.
func (a *app) say(format string, args ...any) {
	fmt.Fprintf(a.errs, format, args...) //nolint:errcheck // nobody is left to be told
}

// exitCode is the one place where errors become exit codes.
func exitCode(err error) int {
	switch stint.CodeOf(err) {
	case stint.Invalid, stint.NotFound, stint.Conflict:
		return exitUsage
	case stint.Unavailable, stint.Denied, stint.Unknown:
		return exitUnreachable
	case stint.Lost, stint.Failed, stint.Canceled, stint.Internal:
		return exitFailed
	}
	return exitFailed
}

func (a *app) root(args []string) *cobra.Command {
	root := &cobra.Command{
		Use:           "stint",
		Short:         "Perform programs over many machines",
		Long:          "Stint separates a program's work into operations, performs them on many machines,\nand keeps what was done through failures and stops.\n\n" + exitHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetOut(a.out)
	root.SetErr(a.errs)
	flags := root.PersistentFlags()
	flags.StringVar(&a.data, "data", a.data, "folder of the embedded default (STINT_DATA)")
	flags.StringVar(&a.server, "server", a.server, "URL of a service (STINT_SERVER)")
	flags.StringVar(&a.token, "token", a.token, "credential for the service (STINT_TOKEN)")
	flags.StringVar(&a.caFile, "ca-file", a.caFile, "certificate authority of the service, PEM (STINT_CA_FILE)")
	root.AddCommand(a.upCommand(), a.serverCommand(), a.agentCommand(), workerCommand(),
		a.runCommand(), a.duplicateCommand(), a.listCommand(), a.showCommand(), a.suspendCommand(), a.resumeCommand(), a.moveCommand(), a.terminateCommand(), a.retryCommand(), a.outputCommand(), a.logsCommand(), a.explainCommand(),
		a.nodeCommand(), a.fsckCommand(), a.credentialsCommand(), a.programCommand(), a.benchCommand(), a.versionCommand())
	refuse := usageError
	if slices.Contains(args, "--help") || slices.Contains(args, "-h") {
		refuse = func(c *cobra.Command, _ error) error { return errors.Join(c.Help(), outcome(exitDone)) }
	}
	strict(root, refuse)
	return root
}

// strict makes every usage error of a command and its subcommands end in refuse,
// and refuses a flag that is given twice.
func strict(c *cobra.Command, refuse func(*cobra.Command, error) error) {
	c.SetFlagErrorFunc(refuse)
	if args := c.Args; args != nil {
		c.Args = func(c *cobra.Command, given []string) error {
			if err := args(c, given); err != nil {
				return refuse(c, err)
			}
			return nil
		}
	}
	for _, set := range []*pflag.FlagSet{c.Flags(), c.PersistentFlags()} {
		set.VisitAll(func(f *pflag.Flag) {
			if _, many := f.Value.(pflag.SliceValue); !many {
				f.Value = &once{Value: f.Value}
			}
		})
	}
	for _, sub := range c.Commands() {
		strict(sub, refuse)
	}
}

// usageError says what is wrong with a command line and how that command is used,
// in two lines: the list of its flags would hide what is wrong.
func usageError(c *cobra.Command, err error) error {
	return stint.Errorf(stint.Invalid, "%s\nusage: %s; %q says more", err, c.UseLine(), c.CommandPath()+" --help")
}

// once is a flag's value that may be given once.
type once struct {
	pflag.Value
	given bool
}

// Set sets the value, the first time.
func (o *once) Set(s string) error {
	if o.given {
		return errors.New("given twice")
	}
	o.given = true
	err := o.Value.Set(s)
	if err != nil && o.Type() == "int" {
		return errors.New("expected a whole number")
	}
	return err
}

// environment takes what STINT_ variables say; flags win over them. A variable
// that is not known, or empty, is refused rather than ignored.
func (a *app) environment(environ []string) error {
	a.home = defaultData(environ)
	a.data = a.home
	settings := map[string]*string{"STINT_DATA": &a.data, "STINT_SERVER": &a.server, "STINT_TOKEN": &a.token, "STINT_CA_FILE": &a.caFile}
	ofOperations := []string{"STINT_EXECUTION", "STINT_STAGE", "STINT_OPERATION", "STINT_ATTEMPT", "STINT_INPUT", "STINT_INPUT_OFFSET", "STINT_INPUT_LENGTH", "STINT_CHECKPOINT_DIR"}
	for _, v := range environ {
		name, value, _ := strings.Cut(v, "=")
		setting, known := settings[name]
		switch {
		case !strings.HasPrefix(name, "STINT_") || slices.Contains(ofOperations, name) || strings.HasPrefix(name, "STINT_PARAM_") || strings.HasPrefix(name, "STINT_BROADCAST_"):
		case !known:
			return stint.Errorf(stint.Invalid, "environment variable %.80s is not known: expected one of %s", name, strings.Join(slices.Sorted(maps.Keys(settings)), ", "))
		case value == "":
			return stint.Errorf(stint.Invalid, "environment variable %s is empty: give it a value or unset it", name)
		default:
			*setting = value
		}
	}
	return nil
}

// interrupted returns a context that ends with the first SIGINT or SIGTERM; the
// second ends the process at once, as if nobody listened.
func interrupted(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// printJSON writes one document, indented.
func (a *app) printJSON(v any) error {
	e := json.NewEncoder(a.out)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write document: %w", err)
	}
	return nil
}

package main

import (
	"bufio"
	"errors"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"stint"
)

const secretVariable = "AWS_SECRET_ACCESS_KEY"

func (a *app) credentialsCommand() *cobra.Command {
	c := group("credentials", "Sets of credentials for object storage")
	c.Long = `Sets of credentials for object storage. The locations s3://NAME@bucket/… stand for a
bucket that is reached with the set NAME. The service keeps sets encrypted and hands
them to its nodes; nobody is shown a secret.`
	c.AddCommand(a.credentialsSetCommand(), a.credentialsListCommand(), a.credentialsRemoveCommand())
	return c
}

func (a *app) credentialsSetCommand() *cobra.Command {
	var set stint.CredentialSet
	c := &cobra.Command{
		Use:   "set NAME",
		Short: "Keep a set of credentials, in place of one of its name",
		Long: `Keep a set of credentials, in place of one of its name. The secret key is read from
` + secretVariable + `, or without that from the first line of standard input: never
from the command line, which other users of this machine can see. With the variable,
AWS_SESSION_TOKEN is the token that goes with it.`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			set.Name = args[0]
			var err error
			if set.SecretKey, err = readSecretKey(c.InOrStdin()); err != nil {
				return err
			}
			set.SessionToken = sessionToken()
			if err := set.Check(); err != nil {
				return err
			}
			service, err := a.connect()
			if err != nil {
				return err
			}
			report, err := service.SetCredentials(c.Context(), set)
			if err == nil {
				a.say("%s  kept\n", report.Name)
			}
			return err
		},
	}
	c.Flags().StringVar(&set.Endpoint, "endpoint", "", "URL of the storage, as https://HOST[:PORT] (default: Amazon's)")
	c.Flags().StringVar(&set.Region, "region", "", "of the storage")
	c.Flags().StringVar(&set.AccessKey, "access-key", "", "id of the access key")
	_ = c.MarkFlagRequired("access-key") // the flag is there
	return c
}

// sessionToken returns the token of the environment, if the secret key is from there
// too: with another key it is none.
func sessionToken() string {
	if os.Getenv(secretVariable) == "" {
		return ""
	}
	return os.Getenv("AWS_SESSION_TOKEN")
}

// readSecretKey returns the secret key that the environment or standard input gives.
func readSecretKey(in io.Reader) (string, error) {
	if secret := os.Getenv(secretVariable); secret != "" {
		return secret, nil
	}
	line, err := bufio.NewReader(io.LimitReader(in, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", stint.Errorf(stint.Invalid, "read the secret key from standard input: %w", err)
	}
	secret := strings.TrimRight(line, "\r\n")
	if secret == "" {
		return "", stint.Errorf(stint.Invalid, "no secret key: give it in %s, or on standard input", secretVariable)
	}
	return secret, nil
}

func (a *app) credentialsListCommand() *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the sets of credentials, without their secrets",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			service, err := a.connect()
			if err != nil {
				return err
			}
			list, err := service.Credentials(c.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(append([]stint.CredentialReport{}, list...))
			}
			t := a.table("NAME", "ENDPOINT", "REGION", "ACCESS KEY")
			for _, r := range list {
				t.row(r.Name, printable(r.Endpoint), printable(r.Region), printable(r.AccessKey))
			}
			return t.Flush()
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON array of documents")
	return c
}

func (a *app) credentialsRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "remove NAME",
		Short: "Remove a set of credentials",
		Args:  cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			service, err := a.connect()
			if err != nil {
				return err
			}
			if err := service.RemoveCredentials(c.Context(), args[0]); err != nil {
				return err
			}
			a.say("%s  removed\n", args[0])
			return nil
		},
	}
}
